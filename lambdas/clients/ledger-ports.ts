// The ledger's ports on AWS, as the stack tells its functions.
import * as z from "zod";
import { mostUsdPerHour } from "../../lib/contracts/prices.ts";
import { positive } from "../../lib/contracts/primitives.ts";
import type { LedgerPorts } from "../ledger/ports.ts";
import { DynamoLedgerStore } from "./dynamo-ledger.ts";
import { environment } from "./environment.ts";

/** VOXELBURST_LEDGER as lib/cloud/ledger.ts writes it. */
const settings = z.strictObject({
  table: z.string().min(1),
  caps: z.strictObject({ runUsd: positive, monthUsd: positive }),
});

/** @throws VoxelburstError EnvironmentIncomplete */
export function ledgerFromEnvironment(): Pick<LedgerPorts, "ledger" | "caps" | "usdPerHour" | "clock"> {
  const { table, caps } = settings.parse(JSON.parse(environment("VOXELBURST_LEDGER")));
  return {
    ledger: new DynamoLedgerStore(table),
    caps,
    usdPerHour: ({ service, instanceType, usdPerHour }) =>
      mostUsdPerHour(service === "batch" ? "ec2" : "sagemaker", instanceType, usdPerHour),
    clock: { now: () => new Date() },
  };
}

// Runs the report on a fixture and reads back what it wrote, each held to its contract.
import { type ReportPorts, report } from "../../../lambdas/report/core.ts";
import {
  type Report,
  type ReportOutput,
  reportInput,
  reportOutput,
  report as reportSchema,
} from "../../../lib/contracts/index.ts";
import type { RunFixture } from "./run-fixture.ts";

export interface Produced {
  output: ReportOutput;
  json: Report;
  html: string;
  csv: string;
}

export async function produce(run: RunFixture, ports: Partial<ReportPorts> = {}): Promise<Produced> {
  const input = reportInput.parse(JSON.parse(JSON.stringify(run.input)));
  const output = reportOutput.parse(
    await report(input, { store: run.store, clock: { now: () => run.now() }, ...ports }),
  );
  return {
    output,
    json: reportSchema.parse(run.read(output.reportKey)),
    html: run.store.text(run.uri(output.htmlKey)),
    csv: run.store.text(run.uri(output.csvKey)),
  };
}

// Which runs are of exactly the content that a dataset has in the bucket: start-run's own identity of it.
import { examineDataset } from "../../lambdas/start-run/core.ts";
import { keys, runIdStart, under } from "../contracts/index.ts";
import type { Cloud } from "./cloud.ts";
import type { CloudRun } from "./runs.ts";

/** Whether a run stands for its content: a delivery of the same content names it and starts nothing. */
export const stands = ({ status }: CloudRun): boolean => status === "running" || status === "succeeded";

/**
 * Reads the dataset where it lies, as start-run of the deployed version does. Nights have a nonce and are not among them.
 *
 * @returns what tells whether a run is of that content
 * @throws VoxelburstError what start-run would refuse the dataset with
 */
export async function isOfContent(cloud: Cloud, dataset: string): Promise<(run: CloudRun) => boolean> {
  const { deployed, store, artefactsUri } = cloud;
  const { identity } = await examineDataset(
    {
      dataset,
      datasetUri: under(`s3://${deployed.dataBucket}/`, keys.dataset(dataset)),
      artefactsUri,
      quarantineUri: artefactsUri,
    },
    { store, version: deployed.version, pseudonymKey: "no part of the identity" },
  );
  const start = runIdStart(dataset, identity);
  return ({ runId }) => runId.startsWith(start) && /^\d+$/.test(runId.slice(start.length));
}

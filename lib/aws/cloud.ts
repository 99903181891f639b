// The deployment and everything that commands ask of it, opened once a command.
import { S3ObjectStore } from "../../lambdas/clients/s3-object-store.ts";
import { keys, type ObjectStore, type Report, report as reportSchema, under } from "../contracts/index.ts";
import { CloudCosts } from "./cost.ts";
import { type Deployed, findDeployed } from "./deployed.ts";
import { RunJobs } from "./jobs.ts";
import { JobLogs } from "./logs.ts";
import { CloudRuns } from "./runs.ts";

export interface Cloud {
  deployed: Deployed;
  runs: CloudRuns;
  jobs: RunJobs;
  logs: JobLogs;
  costs: CloudCosts;
  store: ObjectStore;
  /** s3://<artefacts>/ */
  artefactsUri: string;
}

/** @throws VoxelburstError NotDeployed or OutputMissing */
export async function openCloud(): Promise<Cloud> {
  const deployed = await findDeployed();
  return {
    deployed,
    runs: new CloudRuns(deployed.stateMachineArn),
    jobs: new RunJobs(),
    logs: new JobLogs(),
    costs: CloudCosts.ofTable(deployed.ledgerTable),
    store: new S3ObjectStore(),
    artefactsUri: `s3://${deployed.artefactsBucket}/`,
  };
}

/** @returns undefined while there is none, or when it is of another version's contract */
export async function reportOf({ store, artefactsUri }: Cloud, runId: string): Promise<Report | undefined> {
  const bytes = await store.get(under(artefactsUri, keys.report(runId, "report.json")));
  const parsed = bytes && reportSchema.safeParse(JSON.parse(new TextDecoder().decode(bytes)));
  return parsed?.success ? parsed.data : undefined;
}

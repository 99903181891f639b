// A run of phantoms in which every stage's process, plan and report do all that they do in a run.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { DeleteObjectCommand, GetObjectCommand, ListObjectsV2Command, PutObjectCommand } from "@aws-sdk/client-s3";
import { keys, type PlanOutput, planOutput, type RunRequest, runRequest } from "../../lib/contracts/index.ts";
import { uploadEvent } from "../aws/trigger-account.ts";
import type { RoleAccount } from "./account.ts";

const CPU_MACHINE = JSON.stringify({
  where: "local",
  gpus: 0,
  cpus: 2,
  memoryGiB: 16,
  bf16: false,
  engines: ["onnxruntime"],
});
const RECIPE = `train: {steps: 6, checkpointMinutes: 0.01}
model: {name: unet3d, width: 4}
plan: {batch: 2}
strategies: fp32
engines: onnxruntime
`;

export class StageScenario {
  readonly at: RoleAccount;
  private readonly folder: string;
  request!: RunRequest;
  plan!: PlanOutput;

  constructor(at: RoleAccount, folder: string) {
    this.at = at;
    this.folder = folder;
  }

  private get machine() {
    return { VOXELBURST_MACHINE: CPU_MACHINE };
  }

  private async put(bucket: string, key: string, body: Uint8Array | string): Promise<void> {
    await this.at.account.s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: body }));
  }

  /** Uploads phantoms, and lets start-run write what ingest reads. */
  async startRun(): Promise<void> {
    const dataset = path.join(this.folder, "phantoms");
    const args = ["phantoms", "--out", dataset, "--seed", "5", "--cases", "5", "--size", "16"];
    await this.at.stage("IngestJobRole", args);
    for (const file of readdirSync(dataset, { recursive: true, withFileTypes: true }))
      if (file.isFile()) {
        const full = path.join(file.parentPath, file.name);
        await this.put("data", `datasets/phantoms/${path.relative(dataset, full)}`, readFileSync(full));
      }
    await this.put("data", "datasets/phantoms/recipe.yaml", RECIPE);
    const startRun = await this.at.function("start-run", "TriggerFunctionRole");
    const { runId } = (await startRun.invoke(uploadEvent("phantoms", "1"))) as { runId: string };
    const { s3 } = this.at.account;
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: "artefacts", Key: `runs/${runId}/request.json` }));
    this.request = runRequest.parse(JSON.parse(await Body!.transformToString()));
  }

  private async array(role: string, stage: string, taskKey: string, shards: number): Promise<void> {
    for (let index = 0; index < shards; index++)
      await this.at.stage(role, [stage, "--task", `s3://artefacts/${taskKey}`], {
        AWS_BATCH_JOB_ARRAY_INDEX: String(index),
        AWS_BATCH_JOB_ARRAY_SIZE: String(shards),
      });
  }

  async ingestAndPlan(): Promise<void> {
    const { runId, ingestShards } = this.request;
    await this.array("IngestJobRole", "ingest", `runs/${runId}/tasks/ingest.json`, ingestShards);
    const plan = await this.at.function("plan", "PlanFunctionRole", this.machine);
    this.plan = planOutput.parse(await plan.invoke({ request: this.request }));
  }

  async preprocess(): Promise<void> {
    const { taskKey, shards } = this.plan.preprocess;
    await this.array("PreprocessJobRole", "preprocess", taskKey, shards);
  }

  /** SageMaker fills and empties /opt/ml itself, with the same role. */
  async train(role: string): Promise<void> {
    const [training] = this.plan.trainings;
    const base = path.join(this.folder, `ml-${role}`);
    const at = (...parts: string[]) => path.join(base, ...parts);
    for (const folder of ["input/config", "input/data/arrays", "model", "output/data", "checkpoints"])
      mkdirSync(at(folder), { recursive: true });
    const write = (name: string, value: object) => writeFileSync(at("input", "config", name), JSON.stringify(value));
    write("hyperparameters.json", { task: `s3://artefacts/${training!.taskKey}` });
    write("resourceconfig.json", { current_host: "algo-1", hosts: ["algo-1"], network_interface_name: "lo" });
    write("inputdataconfig.json", { arrays: { TrainingInputMode: "File" } });
    const { s3 } = this.at.account;
    const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: "artefacts", Prefix: "preprocess/" }));
    for (const { Key } of Contents) {
      const { Body } = await s3.send(new GetObjectCommand({ Bucket: "artefacts", Key: Key! }));
      const file = at("input", "data", "arrays", Key!.slice("preprocess/".length));
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, await Body!.transformToByteArray());
    }
    await this.at.stage(role, ["train"], { SAGEMAKER_BASE_DIR: base, TRAINING_JOB_NAME: "train-x" });
  }

  /** The same training as a Batch multi-node job, of one node: the task is its argument, and it fetches what it reads. */
  async trainOnCluster(): Promise<void> {
    const [training] = this.plan.trainings;
    await this.at.stage("TrainClusterRole", ["train", "--task", `s3://artefacts/${training!.taskKey}`], {
      AWS_BATCH_JOB_NUM_NODES: "1",
      AWS_BATCH_JOB_NODE_INDEX: "0",
      AWS_BATCH_JOB_MAIN_NODE_INDEX: "0",
    });
  }

  /** As the account's owner: what a training left, so that the next one finds nothing to skip. */
  async forgetTraining(): Promise<void> {
    const { s3 } = this.at.account;
    for (const Prefix of [keys.outputs("train"), `${keys.results(this.request.runId)}train`]) {
      const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: "artefacts", Prefix }));
      for (const { Key } of Contents) await s3.send(new DeleteObjectCommand({ Bucket: "artefacts", Key: Key! }));
    }
  }

  async compileAndInfer(): Promise<void> {
    const [engine] = this.plan.trainings[0]!.engines;
    await this.at.stage("CompileJobRole", ["compile", "--task", `s3://artefacts/${engine!.compileTaskKey}`]);
    await this.array("InferJobRole", "infer", engine!.inferTaskKey, engine!.inferShards);
  }

  async report(): Promise<void> {
    const report = await this.at.function("report", "ReportFunctionRole", this.machine);
    await report.invoke({ request: this.request, plan: this.plan, failures: [] });
  }
}

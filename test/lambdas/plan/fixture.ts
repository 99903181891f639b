// A run as start-run and ingest leave it, in a folder store, ready to be planned.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { onTestFinished } from "vitest";
import { plan } from "../../../lambdas/plan/core.ts";
import {
  type CaseRecord,
  type Dataset,
  hashOf,
  keys,
  type Machine,
  type Plan,
  type PlanOutput,
  planOutput,
  plan as planSchema,
  type QuarantineEntry,
  type RecipeInput,
  type RunRequest,
  readJson,
  readJsonLines,
  recipe as recipeSchema,
  type Splits,
  type Task,
  task as taskSchema,
  toJsonLines,
  under,
} from "../../../lib/contracts/index.ts";
import { FolderStore } from "../../../lib/local/folder-store.ts";

export const laptop: Machine = {
  where: "local",
  gpus: 0,
  cpus: 2,
  memoryGiB: 16,
  bf16: true,
  convGflops: 140,
  engines: ["torch", "onnxruntime"],
};

export const h100: Machine = {
  where: "aws",
  gpus: 1,
  gpuName: "NVIDIA H100 80GB HBM3",
  gpuMemoryGiB: 79,
  cpus: 16,
  memoryGiB: 256,
  bf16: true,
  convGflops: 250_000,
  instanceType: "p5.4xlarge",
  engines: ["torch", "inductor", "onnxruntime", "tensorrt"],
};

export interface RecordOptions {
  shapeZyx?: [number, number, number];
  spacingMmZyx?: [number, number, number];
  box?: CaseRecord["nonzeroBoxZyx"];
  split?: "training" | "test";
  patient?: string;
  channels?: number;
  foreground?: number;
  mean?: number;
  /** Stands for the content: another one is another caseHash. */
  content?: string;
}

export function record(caseId: string, options: RecordOptions = {}): CaseRecord {
  const shapeZyx = options.shapeZyx ?? [36, 50, 35];
  const [z, y, x] = shapeZyx;
  const caseHash = hashOf([caseId, options.content ?? ""]);
  const mean = options.mean ?? 100;
  const prefix = keys.output("ingest", caseHash);
  const split = options.split ?? "training";
  const channels = options.channels ?? 1;
  return {
    schema: 1,
    caseId,
    caseHash,
    split,
    ...(options.patient ? { patient: options.patient } : {}),
    source: { kind: "nifti" },
    prefix,
    images: Array.from({ length: channels }, (_, c) => `${prefix}image_000${c}.nii.gz`),
    ...(split === "training" ? { label: `${prefix}label.nii.gz` } : {}),
    shapeZyx,
    spacingMmZyx: options.spacingMmZyx ?? [1, 1, 1],
    affine: [
      [1, 0, 0, 0],
      [0, 1, 0, 0],
      [0, 0, 1, 0],
      [0, 0, 0, 1],
    ],
    dtype: "int16",
    nonzeroBoxZyx: options.box ?? [
      [0, z],
      [0, y],
      [0, x],
    ],
    labelVoxels: { "0": z * y * x - (options.foreground ?? 3000), "1": options.foreground ?? 3000 },
    channels: Array.from({ length: channels }, () => ({
      count: options.foreground || z * y * x,
      mean,
      std: 10,
      min: mean - 20,
      max: mean + 20,
      quantiles: Array.from({ length: 401 }, (_, i) => mean - 20 + i / 10),
    })),
    sha256: {},
    bytes: z * y * x * 2,
    warnings: [],
  };
}

export const ids = (count: number, prefix = "case"): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}_${String(i + 1).padStart(3, "0")}`);

export interface RunOptions {
  records: readonly CaseRecord[];
  recipe?: RecipeInput;
  splits?: Splits;
  quarantined?: readonly string[];
  dataset?: Partial<Dataset>;
  request?: Partial<RunRequest>;
}

export class Run {
  readonly store = new FolderStore();
  readonly artefactsUri: string;
  request!: RunRequest;

  /** @param folder - of the artefacts; runs that share one share their outputs. @default - a new one */
  constructor(folder = temporaryFolder()) {
    this.artefactsUri = `${pathToFileURL(folder).href}/`;
  }

  static async of(options: RunOptions, folder?: string): Promise<Run> {
    const run = new Run(folder);
    await run.write(options);
    return run;
  }

  uri(key: string): string {
    return under(this.artefactsUri, key);
  }

  async write({ records, recipe = {}, splits, quarantined = [], dataset, request }: RunOptions): Promise<void> {
    const identity = hashOf([records, recipe, splits, request]);
    this.request = {
      schema: 1,
      runId: `demo-${identity.slice(0, 12)}-1`,
      identity,
      attempt: 1,
      version: "0.1.0",
      dataset: "demo",
      datasetUri: "file:///data/demo/",
      artefactsUri: this.artefactsUri,
      quarantineUri: "file:///data/quarantine/",
      ingestShards: 2,
      ...request,
    };
    const { runId } = this.request;
    const definition: Dataset = {
      name: "Demo",
      channels: ["MRI"],
      labels: [
        { value: 0, name: "background" },
        { value: 1, name: "anterior" },
        { value: 2, name: "posterior" },
      ],
      ...dataset,
    };
    await this.putJson(keys.definition(runId), definition);
    await this.putJson(keys.recipe(runId), recipeSchema.parse(recipe));
    if (splits) await this.putJson(keys.splits(runId), splits);
    for (const item of records) await this.putJson(keys.caseRecord(item.caseHash), item);
    for (const index of [0, 1]) {
      const mine = records.filter((_, i) => i % 2 === index);
      const lines = mine.map(({ caseId, caseHash }) => ({ caseId, recordKey: keys.caseRecord(caseHash) }));
      await this.store.put(this.uri(keys.ingested(runId, index)), toJsonLines(lines));
      const refused = quarantined.filter((_, i) => i % 2 === index).map(quarantineEntryOf);
      await this.store.put(this.uri(keys.quarantined(runId, index)), toJsonLines(refused));
    }
  }

  async plan(machine: Machine = laptop): Promise<{ output: PlanOutput; plan: Plan }> {
    const clock = { now: () => new Date("2026-08-01T00:00:00Z") };
    const output = planOutput.parse(await plan({ request: this.request }, { store: this.store, machine, clock }));
    return { output, plan: await readJson(this.store, this.uri(output.planKey), planSchema) };
  }

  task(key: string): Promise<Task> {
    return readJson(this.store, this.uri(key), taskSchema);
  }

  async lines<T extends Parameters<typeof readJsonLines>[2]>(key: string, schema: T) {
    return readJsonLines(this.store, this.uri(key), schema);
  }

  putJson(key: string, value: unknown): Promise<boolean> {
    return this.store.put(this.uri(key), JSON.stringify(value));
  }
}

const quarantineEntryOf = (caseId: string): QuarantineEntry => ({
  caseId,
  code: "VoxelsNotFinite",
  message: "The image has voxels that are not finite.",
  got: "3 NaN",
  allowed: "finite numbers",
  remedy: "Export the image again.",
});

export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "plan-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

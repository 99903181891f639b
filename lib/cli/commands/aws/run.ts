// voxelburst run DATASET --on aws: checks the dataset here, uploads what the bucket lacks, and names the run that starts.
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { type Cloud, openCloud } from "../../../aws/cloud.ts";
import type { CloudRun } from "../../../aws/runs.ts";
import { isOfContent, stands } from "../../../aws/runs-of-dataset.ts";
import { DatasetUpload, type UploadFile } from "../../../aws/upload.ts";
import { keys, VoxelburstError } from "../../../contracts/index.ts";
import { datasetFolder, type Examination } from "../../../local/workbench.ts";
import type { CommandContext, CommandResult } from "../../command.ts";
import { EXIT } from "../../exit-codes.ts";
import { bytes, plural } from "../../format.ts";
import { note, warning } from "../../messages.ts";
import { datasetOptions, examineAloud, type RunOptions } from "../run.ts";

export interface CloudRunOptions extends Pick<RunOptions, "recipe" | "set" | "again" | "inject"> {
  /** How long to wait for the run, and how often to look. @default two minutes, three seconds */
  waitMs?: number;
  lookMs?: number;
}

const WAIT_MS = 120_000;
const LOOK_MS = 3_000;
/** Clocks differ: a run that started a moment before the upload by ours is the upload's. */
const CLOCKS_DIFFER_MS = 30_000;

export async function run(context: CommandContext, dataset: string, options: CloudRunOptions): Promise<CommandResult> {
  refuseLocalOptions(options);
  const { emit, signal } = context;
  const cloud = await openCloud();
  const examined = await examineAloud(context, dataset, datasetOptions(options));
  for (const { caseId, code } of examined.missing)
    emit(
      warning(code, `${caseId} has no ${code === "LabelMissing" ? "label" : "image"} and will be put into quarantine`),
    );
  const name = examined.input.dataset;
  const files = filesOf(datasetFolder(dataset), examined, options);
  emit(
    note(
      "Uploading",
      `${name}: ${plural(files.length, "file")}, ${bytes(examined.bytes)} to s3://${cloud.deployed.dataBucket}/${keys.dataset(name)}`,
    ),
  );
  const upload = new DatasetUpload(cloud.deployed.dataBucket);
  const prefix = keys.dataset(name);
  const before = Date.now();
  const done = await upload.upload(prefix, files, signal, ({ file, skipped }) => {
    if (!skipped) emit(note("Uploaded", `  ${file}`));
  });
  emit(note("UploadEnded", `${done.uploaded} uploaded (${bytes(done.bytes)}), ${done.skipped} there already`));
  let isOf = await isOfContent(cloud, name);
  let run = (await cloud.runs.list()).find((one) => isOf(one) && stands(one));
  const existed = run !== undefined && run.startedAt.getTime() < before - CLOCKS_DIFFER_MS;
  if (!run && done.uploaded === 0) {
    emit(note("StartedAgain", "no run of exactly this content is open or has succeeded: one is started"));
    await upload.trigger(prefix, files, signal);
    // Of a very large dataset the trigger's ETag is a part of the identity, and under KMS each upload has its own.
    isOf = await isOfContent(cloud, name);
  }
  run ??= await awaitRun(cloud, isOf, before, options, signal);
  if (!run) {
    if (signal.aborted) return { exitCode: EXIT.cancelled, json: { dataset: name, ...done, runId: null } };
    throw notStarted(name);
  }
  const { runId, status } = run;
  emit(
    note(
      existed ? "RunNamed" : "RunStarted",
      `run ${runId} ${existed ? `has exactly this content: it is ${status}` : "has started"}; \`voxelburst watch ${runId} --on aws\` shows it`,
    ),
  );
  return {
    exitCode: EXIT.done,
    json: {
      runId,
      status,
      outcome: existed ? "named" : "started",
      dataset: name,
      ...done,
    },
  };
}

/** What has no meaning in the account. @throws VoxelburstError UsageInvalid */
function refuseLocalOptions({ again, inject }: CloudRunOptions): void {
  const refused = again ? "--again" : (inject ?? []).length > 0 ? "--inject" : undefined;
  if (refused)
    throw new VoxelburstError(
      "UsageInvalid",
      `${refused} is for runs on this machine.`,
      refused === "--again"
        ? "Leave it out; the nightly schedule measures the same content again (`schedule` of the deployment)."
        : "Leave it out, or run --on local.",
      { field: refused },
    );
}

/** What the manifest names and nothing else of the folder: what else lies there may be nobody's business. */
export function filesOf(folder: string, examined: Examination, options: CloudRunOptions): UploadFile[] {
  const names = examined.cases
    .flatMap((one) => [...one.images, ...(one.label ? [one.label] : [])])
    .map(({ key }) => key);
  const files = new Map<string, UploadFile>();
  const add = (key: string) => files.set(key, { key, source: { file: path.join(folder, key) } });
  for (const name of names)
    if (name.endsWith("/")) for (const key of filesBelow(folder, name)) add(key);
    else if (existsSync(path.join(folder, name))) add(name);
  if (existsSync(path.join(folder, "splits.json"))) add("splits.json");
  // A recipe of the command line is uploaded as the dataset's own, JSON being YAML; so is its absence, or the one of an
  // earlier upload would stay.
  const isOverridden = options.recipe !== undefined || options.set.length > 0;
  if (!isOverridden && existsSync(path.join(folder, "recipe.yaml"))) add("recipe.yaml");
  else
    files.set("recipe.yaml", {
      key: "recipe.yaml",
      source: { text: `${JSON.stringify(isOverridden ? examined.recipe : {}, null, 1)}\n` },
    });
  add("dataset.json");
  return [...files.values()];
}

function filesBelow(folder: string, prefix: string): string[] {
  return readdirSync(path.join(folder, prefix), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)).split(path.sep).join("/"))
    .sort();
}

async function awaitRun(
  { runs }: Cloud,
  isOf: (run: CloudRun) => boolean,
  uploadedFromMs: number,
  { waitMs = WAIT_MS, lookMs = LOOK_MS }: CloudRunOptions,
  signal: AbortSignal,
): Promise<CloudRun | undefined> {
  const until = Date.now() + waitMs;
  while (!signal.aborted) {
    const found = (await runs.list(100)).find(
      (one) => isOf(one) && one.startedAt.getTime() >= uploadedFromMs - CLOCKS_DIFFER_MS,
    );
    if (found || Date.now() >= until) return found;
    await wait(lookMs, undefined, { signal }).catch(() => undefined);
  }
  return undefined;
}

const notStarted = (dataset: string) =>
  new VoxelburstError(
    "RunNotStarted",
    `${dataset} is uploaded, but no run of it has started within two minutes.`,
    "A refusal was sent to the notifications' targets; docs/runbook.md (StartFailed) says where else to look.",
    { got: dataset },
  );

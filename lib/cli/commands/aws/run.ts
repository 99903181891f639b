// voxelburst run DATASET --on aws: checks the dataset here, uploads what the bucket lacks, and names the run that starts.
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { type Cloud, openCloud } from "../../../aws/cloud.ts";
import type { CloudRun } from "../../../aws/runs.ts";
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
  const before = Date.now();
  const upload = new DatasetUpload(cloud.deployed.dataBucket);
  const done = await upload.upload(keys.dataset(name), files, signal, ({ file, skipped }) => {
    if (!skipped) emit(note("Uploaded", `  ${file}`));
  });
  emit(note("UploadEnded", `${done.uploaded} uploaded (${bytes(done.bytes)}), ${done.skipped} there already`));
  const started =
    done.uploaded > 0 ? await awaitRun(cloud, name, before, options, signal) : await latestOf(cloud, name);
  if (!started) {
    if (signal.aborted) return { exitCode: EXIT.cancelled, json: { dataset: name, ...done, runId: null } };
    throw notStarted(name, done.uploaded > 0);
  }
  emit(
    note(
      done.uploaded > 0 ? "RunStarted" : "RunNamed",
      `run ${started.runId} ${done.uploaded > 0 ? "has started" : `has exactly this content: it is ${started.status}`}; \`voxelburst watch ${started.runId} --on aws\` shows it`,
    ),
  );
  return {
    exitCode: EXIT.done,
    json: {
      runId: started.runId,
      status: started.status,
      outcome: done.uploaded > 0 ? "started" : "named",
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

const isOf = (dataset: string) => {
  const pattern = new RegExp(`^${dataset}-[0-9a-f]{12}-\\d+$`);
  return ({ runId }: CloudRun) => pattern.test(runId);
};

async function latestOf({ runs }: Cloud, dataset: string): Promise<CloudRun | undefined> {
  return (await runs.list()).find(isOf(dataset));
}

async function awaitRun(
  { runs }: Cloud,
  dataset: string,
  uploadedFromMs: number,
  { waitMs = WAIT_MS, lookMs = LOOK_MS }: CloudRunOptions,
  signal: AbortSignal,
): Promise<CloudRun | undefined> {
  const until = Date.now() + waitMs;
  while (!signal.aborted) {
    const found = (await runs.list(100)).find(
      (one) => isOf(dataset)(one) && one.startedAt.getTime() >= uploadedFromMs - CLOCKS_DIFFER_MS,
    );
    if (found || Date.now() >= until) return found;
    await wait(lookMs, undefined, { signal }).catch(() => undefined);
  }
  return undefined;
}

const notStarted = (dataset: string, hasUploaded: boolean) =>
  new VoxelburstError(
    "RunNotStarted",
    hasUploaded
      ? `${dataset} is uploaded, but no run of it has started within two minutes.`
      : `${dataset} is in the bucket unchanged, and no run of it is known.`,
    "A refusal was sent to the notifications' targets; docs/runbook.md (StartFailed) says where else to look.",
    { got: dataset },
  );

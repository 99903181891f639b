// start-run: a dropped dataset becomes exactly one run, named by its content, with everything that ingest reads.
import {
  type Dataset,
  hashOf,
  type IngestCase,
  type IngestTask,
  keys,
  type ObjectInfo,
  type ObjectStore,
  parseJson,
  type Recipe,
  type ReserveOutput,
  type RunRequest,
  readJson,
  runIdStart,
  runRequest,
  toJsonLines,
  under,
  VoxelburstError,
} from "../../lib/contracts/index.ts";
import { CLASS_MODEL, checkClasses, checkModel } from "./check-classes.ts";
import { checkSplits, type NamedSplits } from "./check-splits.ts";
import { type MissingInput, type PreparedCases, prepareCases } from "./ingest-cases.ts";
import { readManifest } from "./manifest-cases.ts";
import { checkFolds, readRecipe } from "./read-recipe.ts";

export { pseudonymOf } from "./ingest-cases.ts";
export { readRecipe } from "./read-recipe.ts";

/** What is known of a run by its name. A failed one covers what was aborted or timed out too. */
export type RunState = "absent" | "open" | "succeeded" | "failed";

/** Starts executions of the state machine: Step Functions, or lib/local. */
export interface Executions {
  state(runId: string): Promise<RunState>;
  /** Idempotent by the run's name: of several calls with one request, one starts it. */
  start(request: RunRequest): Promise<void>;
  /**
   * Continues a failed run where it failed; false when that is not possible (too old, another definition). On AWS there
   * is none: the next attempt skips what is complete, and two deliveries at once start one.
   */
  redrive?(request: RunRequest): Promise<boolean>;
}

export interface StartRunPorts {
  store: ObjectStore;
  executions: Executions;
  /** Software version: part of every hash. */
  version: string;
  /** Of the keyed hash of patients, as ingest gets it in VOXELBURST_PSEUDONYM_KEY; kept outside every bucket. */
  pseudonymKey: string | Uint8Array;
  /** Array children of ingest for so many cases, at least 2. */
  ingestShards(cases: number): number;
  /** Seconds at which the service stops a child of so many that share the cases. @default - no service does */
  ingestSeconds?(cases: readonly IngestCase[], shards: number): number;
  /** Holds what ingest can cost at most, before anything starts. @default - nothing costs */
  holdIngest?(request: RunRequest): Promise<ReserveOutput>;
}

export interface StartRunInput {
  /** The <name> of datasets/<name>/. */
  dataset: string;
  datasetUri: string;
  artefactsUri: string;
  quarantineUri: string;
  /** bench and the schedule: the same content is another run. */
  nonce?: string;
  /** Of the nightly benchmark: when it was to start. */
  night?: string;
  /** In place of recipe.yaml beside the manifest. */
  recipe?: { name: string; text: string };
  /** Assignments that win over the recipe: "train.minutes=10". */
  set?: readonly string[];
}

/** Everything that can be known of a dataset without reading a volume. */
export interface Examination {
  input: StartRunInput;
  dataset: Dataset;
  recipe: Recipe;
  splits?: NamedSplits;
  cases: PreparedCases["cases"];
  missing: readonly MissingInput[];
  identity: string;
  /** Of the objects that the cases name. */
  bytes: number;
}

export interface StartedRun {
  request: RunRequest;
  /** started: a new run; redriven: a failed one goes on; open, succeeded: it exists and is only named. */
  outcome: "started" | "redriven" | "open" | "succeeded";
}

/**
 * Reads dataset.json, splits.json and recipe.yaml, lists the dataset, and checks them against each other.
 *
 * @throws VoxelburstError DatasetMissing, DatasetInvalid, CaseDuplicated, NoUsableCase, SplitsInvalid,
 *   SplitsUnknownCase, SplitsOverlap, PatientInBothParts, RecipeInvalid, SetInvalid, or one of check-classes.ts
 */
export async function examineDataset(
  input: StartRunInput,
  ports: Pick<StartRunPorts, "store" | "version" | "pseudonymKey">,
): Promise<Examination> {
  const { store } = ports;
  // The recipe first: it is small, and a typing error in it should not wait for a listing.
  const text = await recipeText(input, store);
  const written = readRecipe(...text, input.set);
  const manifestBytes = await store.get(under(input.datasetUri, "dataset.json"));
  if (!manifestBytes)
    throw new VoxelburstError(
      "DatasetMissing",
      "There is no dataset.json in the dataset's folder.",
      "Write one with `voxelburst init FOLDER`, or name the folder that has it.",
      { field: "dataset.json", got: "nothing" },
    );
  const listing = await store.list(input.datasetUri, { byContent: true });
  const manifest = readManifest(parseJson(manifestBytes, "dataset.json", "DatasetInvalid"), listing, input.dataset);

  const recipe = manifest.dataset.classes ? readRecipe(...text, input.set, CLASS_MODEL) : written;
  checkModel(recipe, manifest.dataset);

  const splitsBytes = await store.get(under(input.datasetUri, "splits.json"));
  const splits = splitsBytes && checkSplits(parseJson(splitsBytes, "splits.json", "SplitsInvalid"), manifest.cases);
  checkFolds(recipe, splits && Object.keys(splits), input.set ?? []);
  if (manifest.dataset.classes) checkClasses(manifest.cases, manifest.dataset.classes, splits ? 1 : recipe.foldCount);

  const { cases, missing } = prepareCases(
    manifest.cases,
    manifest.dataset,
    listing,
    { minSlices: recipe.ingest.minSlices },
    ports.version,
    ports.pseudonymKey,
  );
  return {
    input,
    dataset: manifest.dataset,
    recipe,
    ...(splits ? { splits } : {}),
    cases,
    missing,
    identity: identityOf(listing, recipe, ports.version, input.nonce),
    bytes: cases.reduce(
      (sum, one) => sum + one.images.reduce((bytes, image) => bytes + image.bytes, one.label?.bytes ?? 0),
      0,
    ),
  };
}

async function recipeText(input: StartRunInput, store: ObjectStore): Promise<[string | undefined, string]> {
  if (input.recipe) return [input.recipe.text, input.recipe.name];
  const bytes = await store.get(under(input.datasetUri, "recipe.yaml"));
  if (!bytes && (await store.exists(under(input.datasetUri, "recipe.yml"))))
    throw new VoxelburstError(
      "RecipeInvalid",
      "The dataset has a recipe.yml, which is not read; allowed: recipe.yaml.",
      "Rename recipe.yml to recipe.yaml.",
      { field: "recipe.yml", got: "recipe.yml", allowed: "recipe.yaml" },
    );
  return [bytes && new TextDecoder().decode(bytes), "recipe.yaml"];
}

const identityOf = (listing: readonly ObjectInfo[], recipe: Recipe, version: string, nonce: string | undefined) =>
  hashOf({ objects: listing.map(({ key, tag }) => [key, tag]), recipe, version, nonce });

/** Examines the dataset and starts its run, or names the one that exists. Any number of duplicates start one run. */
export async function startRun(input: StartRunInput, ports: StartRunPorts): Promise<StartedRun> {
  return beginRun(await examineDataset(input, ports), ports);
}

const MOST_ATTEMPTS = 9999;

/**
 * startRun behind the examination, for a caller that shows it first.
 *
 * @throws VoxelburstError OverBudget, OverMonthlyBudget or TooManyAttempts
 */
export async function beginRun(examined: Examination, ports: StartRunPorts): Promise<StartedRun> {
  for (let attempt = 1; attempt <= MOST_ATTEMPTS; attempt++) {
    const wanted = requestOf(examined, attempt, ports);
    const existing = await existingRequest(wanted.runId, wanted.artefactsUri, ports.store);
    const state = existing ? await ports.executions.state(wanted.runId) : "absent";
    if (existing && (state === "open" || state === "succeeded")) return { request: existing, outcome: state };
    // The same content under another address (a folder that was moved): what was written leads to the old one.
    const stale = existing !== undefined && existing.datasetUri !== wanted.datasetUri;
    if (stale) continue;
    if (existing && state === "failed") {
      if (await ports.executions.redrive?.(existing)) return { request: existing, outcome: "redriven" };
      continue;
    }
    const request = existing ?? (await writeRun(examined, wanted, ports));
    await holdOrRefuse(request, ports);
    await ports.executions.start(request);
    return { request, outcome: "started" };
  }
  throw new VoxelburstError(
    "TooManyAttempts",
    `The dataset has failed ${MOST_ATTEMPTS} times unchanged.`,
    "Read the report of the last attempt and correct what it names.",
  );
}

/** @throws VoxelburstError OverBudget or OverMonthlyBudget with the estimate; the next delivery asks again */
async function holdOrRefuse(request: RunRequest, ports: StartRunPorts): Promise<void> {
  const answer = await ports.holdIngest?.(request);
  if (!answer || answer.granted) return;
  const { code, message, remedy } = answer.reason!;
  throw new VoxelburstError(code, message, remedy, { stage: "ingest" });
}

async function existingRequest(runId: string, artefactsUri: string, store: ObjectStore) {
  const uri = under(artefactsUri, keys.request(runId));
  return (await store.exists(uri)) ? readJson(store, uri, runRequest) : undefined;
}

function requestOf(examined: Examination, attempt: number, ports: StartRunPorts): RunRequest {
  const { input, identity, cases } = examined;
  const ingestShards = Math.max(2, ports.ingestShards(cases.length));
  return {
    schema: 1,
    runId: `${runIdStart(input.dataset, identity)}${attempt}`,
    identity,
    attempt,
    ...(input.nonce === undefined ? {} : { nonce: input.nonce }),
    ...(input.night === undefined ? {} : { night: input.night }),
    version: ports.version,
    dataset: input.dataset,
    datasetUri: input.datasetUri,
    artefactsUri: input.artefactsUri,
    quarantineUri: input.quarantineUri,
    ingestShards,
    ...(ports.ingestSeconds ? { ingestSeconds: ports.ingestSeconds(cases, ingestShards) } : {}),
  };
}

/**
 * Writes what ingest and plan read, the request last: its conditional put decides between duplicates, and whoever
 * finds it finds everything else. Duplicates write the same content, so it does not matter whose stays.
 */
async function writeRun(examined: Examination, request: RunRequest, ports: StartRunPorts): Promise<RunRequest> {
  const { runId, artefactsUri } = request;
  const put = (key: string, body: string) =>
    ports.store.put(under(artefactsUri, key), body, { ifAbsent: true, contentType: "application/json" });
  const json = (value: unknown) => `${JSON.stringify(value, null, 1)}\n`;
  await put(keys.definition(runId), json(examined.dataset));
  await put(keys.recipe(runId), json(examined.recipe));
  if (examined.splits) await put(keys.splits(runId), json(examined.splits));
  await put(keys.taskCases(runId, "ingest"), toJsonLines(examined.cases));
  await put(keys.task(runId, "ingest"), json(ingestTaskOf(examined, request)));
  const first = await put(keys.request(runId), json(request));
  return first ? request : readJson(ports.store, under(artefactsUri, keys.request(runId)), runRequest);
}

function ingestTaskOf(examined: Examination, request: RunRequest): IngestTask {
  return {
    schema: 1,
    stage: "ingest",
    taskId: "ingest",
    runId: request.runId,
    version: request.version,
    dataset: request.dataset,
    datasetUri: request.datasetUri,
    artefactsUri: request.artefactsUri,
    quarantineUri: under(request.quarantineUri, keys.quarantine(request.runId)),
    runPrefix: keys.run(request.runId),
    inputHash: hashOf(examined.cases.map((one) => one.caseHash)),
    casesKey: keys.taskCases(request.runId, "ingest"),
    shards: request.ingestShards,
    definition: examined.dataset,
    minSlices: examined.recipe.ingest.minSlices,
  };
}

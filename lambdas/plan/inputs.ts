// What plan reads: the run's documents, what ingest accepted and what it refused.
import {
  type CaseRecord,
  caseRecord,
  type Dataset,
  dataset,
  ingestedCase,
  keys,
  type ObjectStore,
  type QuarantineEntry,
  quarantineEntry,
  type Recipe,
  type RunRequest,
  readJson,
  readJsonLines,
  recipe,
  type Splits,
  splits,
  under,
  VoxelburstError,
} from "../../lib/contracts/index.ts";

export interface IngestedCase {
  /** As this run calls it: equal content under another name shares one record. */
  caseId: string;
  recordKey: string;
  record: CaseRecord;
}

export interface PlanInputs {
  dataset: Dataset;
  recipe: Recipe;
  splits?: Splits;
  /** In ascending order of their ids. */
  training: IngestedCase[];
  test: IngestedCase[];
  quarantined: QuarantineEntry[];
}

/** @throws VoxelburstError ObjectMissing, DocumentInvalid, IngestIncomplete, NoUsableCase, LabelsMissing */
export async function readInputs(request: RunRequest, store: ObjectStore): Promise<PlanInputs> {
  const { runId, artefactsUri } = request;
  const at = (key: string) => under(artefactsUri, key);
  const definition = await readJson(store, at(keys.definition(runId)), dataset);
  const settings = await readJson(store, at(keys.recipe(runId)), recipe);
  const hasSplits = await store.exists(at(keys.splits(runId)));
  const quarantined: QuarantineEntry[] = [];
  const accepted: { caseId: string; recordKey: string }[] = [];
  for (let index = 0; index < request.ingestShards; index++) {
    const lines = at(keys.ingested(runId, index));
    // Planning on a part of the cases would look like success.
    if (!(await store.exists(lines)))
      throw new VoxelburstError(
        "IngestIncomplete",
        `Child ${index} of ${request.ingestShards} of ingest has left no list of its cases.`,
        "Resume the run: ingest redoes what is missing.",
        { stage: "ingest", index },
      );
    accepted.push(...(await readJsonLines(store, lines, ingestedCase)));
    quarantined.push(...(await readJsonLines(store, at(keys.quarantined(runId, index)), quarantineEntry)));
  }
  const cases = await inBatches(accepted, async (line) => ({
    ...line,
    record: await readJson(store, at(line.recordKey), caseRecord),
  }));
  cases.sort((a, b) => (a.caseId < b.caseId ? -1 : a.caseId > b.caseId ? 1 : 0));
  const training = cases.filter(({ record }) => record.split === "training");
  if (training.length === 0) throw noUsableCase(quarantined);
  if (!definition.classes && definition.labels.length < 2)
    throw new VoxelburstError(
      "LabelsMissing",
      "The dataset has no label to segment.",
      "Name background and at least one structure in the manifest's `labels`.",
      { field: "labels", got: `${definition.labels.length} labels`, allowed: "at least 2" },
    );
  return {
    dataset: definition,
    recipe: settings,
    ...(hasSplits ? { splits: await readJson(store, at(keys.splits(runId)), splits) } : {}),
    training,
    test: cases.filter(({ record }) => record.split === "test"),
    quarantined,
  };
}

function noUsableCase(quarantined: readonly QuarantineEntry[]): VoxelburstError {
  const codes = [...Map.groupBy(quarantined, (entry) => entry.code)].map(([code, list]) => `${list.length} ${code}`);
  return new VoxelburstError(
    "NoUsableCase",
    `No training case is left: ${quarantined.length} are in quarantine${codes.length ? ` (${codes.join(", ")})` : ""}.`,
    "Correct the cases that the quarantine names and drop the dataset again.",
    { field: "training", got: "0 usable cases", allowed: "at least 1" },
  );
}

/** Requests to a store in flight at once: thousands of cases must neither queue up one by one nor all together. */
const IN_FLIGHT = 64;

export async function inBatches<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let i = 0; i < items.length; i += IN_FLIGHT)
    results.push(...(await Promise.all(items.slice(i, i + IN_FLIGHT).map(work))));
  return results;
}

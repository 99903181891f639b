// Reads whatever a run left behind. Nothing here may stop the report: what cannot be read becomes an error entry.
import type { z } from "zod";
import {
  type CaseScores,
  caseRecord,
  caseScores,
  type ErrorDocument,
  errorDocument,
  ingestedCase,
  keys,
  type ObjectStore,
  type Plan,
  plan,
  problemsOf,
  type QuarantineEntry,
  quarantineEntry,
  type ReportInput,
  type Result,
  result,
  type StageName,
  task,
  under,
} from "../../lib/contracts/index.ts";
import { type Ladder, ladderOf } from "./ladder.ts";

/** One job of the run: an array child, or a job that is no array. */
export interface Job<R extends Result = Result> {
  taskId: string;
  index?: number;
  result: R;
  /** Its output existed before this run, which therefore spent no time on it. */
  reused: boolean;
}

/** The part of a case record that the report shows. */
export interface IngestedRecord {
  caseId: string;
  split: "training" | "test";
  warnings: { code: string; message: string }[];
}

export interface RunFacts {
  plan?: Plan;
  ladder: Ladder;
  jobs: Job[];
  errors: { name: string; document: ErrorDocument }[];
  unreadable: ErrorDocument[];
  records: IngestedRecord[];
  quarantine: QuarantineEntry[];
  /** By task id of the infer task. */
  scores: Map<string, CaseScores[]>;
}

type ResultOf<S extends Result["stage"]> = Extract<Result, { stage: S }>;

/** The jobs of one stage, in the order of their task and index. */
export const jobsOf = <S extends Result["stage"]>(jobs: readonly Job[], stage: S): Job<ResultOf<S>>[] =>
  jobs.filter((job): job is Job<ResultOf<S>> => job.result.stage === stage);

/** At most this many reads at once: an object store answers no faster to more, and sockets are few in a Lambda. */
const READS_AT_ONCE = 16;

/** Array.map for promises, a few at a time, in order. */
export async function mapSome<T, U>(items: readonly T[], of: (item: T) => Promise<U>): Promise<U[]> {
  const results: U[] = new Array(items.length);
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const at = next++;
      results[at] = await of(items[at]!);
    }
  };
  await Promise.all(Array.from({ length: Math.min(READS_AT_ONCE, items.length) }, worker));
  return results;
}

/** Reads documents and keeps a list of those that do not fit their schema. */
class Reader {
  readonly unreadable: ErrorDocument[] = [];
  readonly #store: ObjectStore;
  readonly #root: string;

  constructor(store: ObjectStore, root: string) {
    this.#store = store;
    this.#root = root;
  }

  list(prefix: string) {
    return this.#store.list(under(this.#root, prefix));
  }

  async document<T extends z.ZodType>(key: string, schema: T): Promise<z.infer<T> | undefined> {
    const bytes = await this.#store.get(under(this.#root, key));
    return bytes && this.#parse(new TextDecoder().decode(bytes), key, schema);
  }

  async lines<T extends z.ZodType>(key: string, schema: T): Promise<z.infer<T>[]> {
    const bytes = await this.#store.get(under(this.#root, key));
    if (!bytes) return [];
    return new TextDecoder()
      .decode(bytes)
      .split("\n")
      .filter((line) => line.trim() !== "")
      .map((line) => this.#parse(line, key, schema))
      .filter((value) => value !== undefined);
  }

  #parse<T extends z.ZodType>(text: string, key: string, schema: T): z.infer<T> | undefined {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      this.#refuse(key, "is not JSON");
      return undefined;
    }
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data as z.infer<T>;
    const first = problemsOf(schema, value)[0];
    this.#refuse(key, `does not fit its schema: ${first?.field} is ${first?.got}; allowed: ${first?.allowed}`);
    return undefined;
  }

  #refuse(key: string, why: string) {
    if (this.unreadable.some((known) => known.field === key)) return;
    this.unreadable.push({
      schema: 1,
      code: "DocumentInvalid",
      message: `${key} ${why}.`,
      field: key,
      remedy: "Delete that object and resume the run: the stage that writes it does so again.",
    });
  }
}

/** train-fold1-dali.json -> that task; ingest.3.json -> its fourth array child. */
function nameOf(file: string): { taskId: string; index?: number } | undefined {
  const match = /^([A-Za-z0-9][A-Za-z0-9_-]*)(?:\.(\d+))?\.json$/.exec(file);
  return match ? { taskId: match[1]!, index: match[2] === undefined ? undefined : Number(match[2]) } : undefined;
}

/** Everything that the run of this input has left in its store. */
export async function gather(input: ReportInput, store: ObjectStore): Promise<RunFacts> {
  const { runId, artefactsUri, ingestShards } = input.request;
  const reader = new Reader(store, artefactsUri);
  const planDocument = await reader.document(keys.plan(runId), plan);
  const jobs = await resultsOfRun(reader, runId);
  const ladder = ladderOf(input.plan, planDocument, jobs);
  jobs.push(...(await resultsReused(reader, ladder, jobs)));

  const errors = await mapSome(await reader.list(keys.errors(runId)), async ({ key }) => ({
    name: key.replace(/\.json$/, ""),
    document: await reader.document(`${keys.errors(runId)}${key}`, errorDocument),
  }));
  const { records, quarantine } = await ingested(reader, runId, ingestShards, jobs);
  const scores = new Map<string, CaseScores[]>();
  for (const job of jobsOf(jobs, "infer"))
    scores.set(job.taskId, [
      ...(scores.get(job.taskId) ?? []),
      ...(await reader.lines(job.result.scoresKey, caseScores)),
    ]);

  return {
    plan: planDocument,
    ladder,
    jobs,
    errors: errors.filter((entry): entry is RunFacts["errors"][number] => entry.document !== undefined),
    unreadable: reader.unreadable,
    records,
    quarantine,
    scores,
  };
}

async function resultsOfRun(reader: Reader, runId: string): Promise<Job[]> {
  const listed = await reader.list(keys.results(runId));
  const jobs = await mapSome(listed, async ({ key }): Promise<Job | undefined> => {
    const name = nameOf(key);
    const document = name && (await reader.document(keys.result(runId, name.taskId, name.index), result));
    return name && document && { ...name, result: document, reused: document.runId !== runId };
  });
  return jobs
    .filter((job) => job !== undefined)
    .sort((a, b) => a.taskId.localeCompare(b.taskId) || (a.index ?? 0) - (b.index ?? 0));
}

/** Trainings and engines that the state machine skipped because an earlier run made them: their result is beside them. */
async function resultsReused(reader: Reader, ladder: Ladder, jobs: readonly Job[]): Promise<Job[]> {
  const known = new Set(jobs.map((job) => job.taskId));
  const outputs: { taskId: string; stage: StageName; prefix: string }[] = [];
  for (const training of ladder) {
    if (training.planned && !known.has(training.taskId))
      outputs.push({
        taskId: training.taskId,
        stage: "train",
        prefix: keys.output("train", training.planned.trainHash),
      });
    for (const engine of training.engines) {
      if (!engine.planned || known.has(engine.compileTaskId)) continue;
      const document = await reader.document(engine.planned.compileTaskKey, task);
      if (document?.stage === "compile")
        outputs.push({ taskId: engine.compileTaskId, stage: "compile", prefix: document.outputPrefix });
    }
  }
  const found = await mapSome(outputs, async ({ taskId, stage, prefix }): Promise<Job | undefined> => {
    const document = await reader.document(keys.outputResult(prefix), result);
    return document?.stage === stage ? { taskId, result: document, reused: true } : undefined;
  });
  return found.filter((job) => job !== undefined);
}

/** Records and quarantine, also of an array child that failed after it had written some. */
async function ingested(reader: Reader, runId: string, shards: number, jobs: readonly Job[]) {
  const children = jobsOf(jobs, "ingest");
  const finished = new Set(children.map((job) => job.index));
  const lists = children.map(({ result: { casesKey, quarantineKey } }) => ({ casesKey, quarantineKey }));
  for (let index = 0; index < shards; index++)
    if (!finished.has(index))
      lists.push({ casesKey: keys.ingested(runId, index), quarantineKey: keys.quarantined(runId, index) });

  const cases = (await mapSome(lists, ({ casesKey }) => reader.lines(casesKey, ingestedCase))).flat();
  const entries = (await mapSome(lists, ({ quarantineKey }) => reader.lines(quarantineKey, quarantineEntry))).flat();
  const recordKeys = [...new Map(cases.map(({ caseId, recordKey }) => [caseId, recordKey])).values()];
  const records = await mapSome(recordKeys, async (key): Promise<IngestedRecord | undefined> => {
    const document = await reader.document(key, caseRecord);
    return document && { caseId: document.caseId, split: document.split, warnings: document.warnings };
  });
  const quarantine = [...new Map(entries.map((entry) => [`${entry.caseId} ${entry.code}`, entry])).values()];
  return {
    records: records.filter((record) => record !== undefined),
    quarantine: quarantine.sort((a, b) => a.caseId.localeCompare(b.caseId)),
  };
}

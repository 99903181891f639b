// A night of the benchmark against the nights before it: what fell, and by how much.
import {
  keys,
  type Night,
  type NightlyComparison,
  type NightRow,
  night as nightSchema,
  type ObjectStore,
  REGRESSION,
  type Report,
  type ReportRow,
  type RunRequest,
  under,
} from "../../lib/contracts/index.ts";
import { NOT_MEASURED } from "./rows.ts";

/** A request of the schedule's. */
export type NightlyRequest = RunRequest & { night: string };

export const isNightly = (request: RunRequest): request is NightlyRequest => request.night !== undefined;

/** What is remembered of tonight: the rows in which something was measured. */
export function nightOf(request: NightlyRequest, rows: readonly ReportRow[]): Night {
  const { dataset, night, runId, version } = request;
  return {
    schema: 1,
    dataset,
    night,
    runId,
    version,
    rows: rows
      .filter(({ volumesPerSecond, dice, auc = null }) => [volumesPerSecond, dice, auc].some((one) => one !== null))
      .map((row) => ({
        row: [row.fold, row.strategy, ...(row.engine ? [row.engine] : [])].join(" "),
        device:
          row.gpu === NOT_MEASURED
            ? NOT_MEASURED
            : `${row.gpus} x ${row.gpu}${row.precision ? `, ${row.precision}` : ""}`,
        volumesPerSecond: row.volumesPerSecond,
        dice: row.dice,
        ...(row.auc === undefined ? {} : { auc: row.auc }),
      })),
  };
}

/** The last nights before this one, in their order. What cannot be read is no night: a new contract starts anew. */
export async function nightsBefore(request: NightlyRequest, store: ObjectStore): Promise<Night[]> {
  const prefix = under(request.artefactsUri, keys.nights(request.dataset));
  const tonight = under(request.artefactsUri, keys.night(request.dataset, request.night));
  const earlier = (await store.list(prefix)).map(({ key }) => prefix + key).filter((uri) => uri < tonight);
  const found: Night[] = [];
  for (const uri of earlier.slice(-REGRESSION.baselineNights)) {
    const bytes = await store.get(uri);
    const parsed = nightSchema.safeParse(bytes && parseLenient(bytes));
    if (parsed.success) found.push(parsed.data);
  }
  return found;
}

function parseLenient(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

/** Decimals such as 0.91 - 0.9 are not what they say: a fall of exactly the limit has to reach it. */
const rounded = (value: number) => Math.round(value * 1e6) / 1e6;

const fallOf = (score: number | null, before: number | null): number | null =>
  before === null || score === null ? null : rounded(before - score);

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/**
 * Compares tonight with the median of the nights before, at most seven and at least three. Speed is compared on the same
 * device and precision alone: a night on a smaller GPU is slower without a regression. Dice, and a classification's AUC,
 * are compared in any case.
 */
export function compareNights(tonight: Night, before: readonly Night[]): NightlyComparison {
  const medianOf = (values: readonly (number | null)[]): number | null => {
    const measured = values.filter((value) => value !== null);
    return measured.length < REGRESSION.leastNights ? null : median(measured);
  };
  const rows = tonight.rows.map((row) => {
    const same = before.flatMap((night) => night.rows.filter((other) => other.row === row.row));
    const medianVolumesPerSecond = medianOf(
      same.filter(({ device }) => device === row.device).map(({ volumesPerSecond }) => volumesPerSecond),
    );
    const medianDice = medianOf(same.map(({ dice }) => dice));
    const medianAuc = medianOf(same.map(({ auc = null }) => auc));
    return {
      ...row,
      medianVolumesPerSecond,
      medianDice,
      speedFallPercent:
        medianVolumesPerSecond === null || row.volumesPerSecond === null
          ? null
          : rounded((100 * (medianVolumesPerSecond - row.volumesPerSecond)) / medianVolumesPerSecond),
      diceFall: fallOf(row.dice, medianDice),
      ...(row.auc === undefined ? {} : { medianAuc, aucFall: fallOf(row.auc, medianAuc) }),
    };
  });
  return { night: tonight.night, nights: before.length, rows, missing: missingOf(tonight, before) };
}

/** Rows that were timed in enough earlier nights and not in this one. */
function missingOf(tonight: Night, before: readonly Night[]): string[] {
  const timed = (rows: readonly NightRow[]) =>
    rows.filter(({ volumesPerSecond }) => volumesPerSecond !== null).map(({ row }) => row);
  const counts = new Map<string, number>();
  for (const name of before.flatMap(({ rows }) => timed(rows))) counts.set(name, (counts.get(name) ?? 0) + 1);
  const now = new Set(timed(tonight.rows));
  return [...counts]
    .filter(([name, nights]) => nights >= REGRESSION.leastNights && !now.has(name))
    .map(([name]) => name);
}

type Fall = "speedFallPercent" | "diceFall" | "aucFall";

/** The largest of what could be compared; undefined when nothing could. */
export function worstOf(comparison: NightlyComparison, ...of: Fall[]): number | undefined {
  const falls = comparison.rows.flatMap((row) => of.map((each) => row[each] ?? null)).filter((value) => value !== null);
  return falls.length > 0 ? Math.max(...falls) : undefined;
}

/** A sentence for every regression, for the report's notes and the notification. */
export function regressionSentences({ nights, rows, missing }: NightlyComparison): string[] {
  const baseline = `the median of ${nights} nights`;
  type Score = number | null | undefined;
  const fallen = (name: string, row: string, score: Score, fall: Score, before: Score): string[] =>
    (fall ?? 0) < REGRESSION.diceFall
      ? []
      : [
          `The ${name} of ${row} is ${fall!.toFixed(4)} below ${baseline}: ${score!.toFixed(4)} against ${before!.toFixed(4)}.`,
        ];
  return [
    ...rows
      .filter(({ speedFallPercent }) => (speedFallPercent ?? 0) >= REGRESSION.speedFallPercent)
      .map(
        (row) =>
          `${row.row} is ${row.speedFallPercent!.toFixed(1)} % slower than ${baseline}: ${shown(row.volumesPerSecond)} volumes/s against ${shown(row.medianVolumesPerSecond)}.`,
      ),
    ...rows.flatMap(({ row, dice, diceFall, medianDice }) => fallen("Dice", row, dice, diceFall, medianDice)),
    ...rows.flatMap(({ row, auc, aucFall, medianAuc }) => fallen("AUC", row, auc, aucFall, medianAuc)),
    ...missing.map((row) => `${row} was not measured, as it was in earlier nights.`),
  ];
}

const shown = (value: number | null) => (value === null ? NOT_MEASURED : value.toPrecision(3));

/** The report of a night: with the comparison, and its regressions in the notes. */
export function withComparison(document: Report, comparison: NightlyComparison): Report {
  const found = regressionSentences(comparison);
  const enough = comparison.nights >= REGRESSION.leastNights;
  const compared = enough
    ? `Compared with the median of ${comparison.nights} earlier nights: ${found.length === 0 ? "no regression" : `${found.length} found`}.`
    : `Not compared: ${comparison.nights} earlier nights, of ${REGRESSION.leastNights} that a median needs.`;
  return {
    ...document,
    nightly: comparison,
    notes: [...document.notes, compared, ...found.map((sentence) => `Regression: ${sentence}`)],
  };
}

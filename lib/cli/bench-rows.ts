// Rows of benchmarks: what they are called, how rounds become one row, how they compare, how they look.
import type { Bench, BenchRow, Report } from "../contracts/index.ts";
import { significant, type Table, usd } from "./format.ts";

/** What makes two rows the same measurement. */
export const keyOf = (row: BenchRow): string =>
  [
    row.kind,
    row.peer,
    row.does,
    row.strategy,
    row.without,
    row.engine,
    row.fold,
    row.augmentation,
    row.precision,
    row.gpus,
    row.batch,
    row.patch?.join("x"),
  ]
    .map((part) => part ?? "")
    .join("|");

/** The row in words. */
export function nameOf(row: BenchRow): string {
  const words = [
    row.peer ? `${row.peer}: ${row.does ?? ""}` : row.does,
    row.gpus ? `${row.strategy} x ${row.gpus}` : row.strategy,
    row.without ? `without ${row.without}` : undefined,
    row.engine ? `engine ${row.engine}` : undefined,
    row.precision,
    row.augmentation ? `${row.augmentation} augmentation` : undefined,
    row.fold,
  ];
  return words.filter((word) => word !== undefined).join(", ");
}

/** Patches or windows a second; of a row that has neither, volumes a second. */
export const speedOf = (row: BenchRow): number | undefined =>
  row.patchesPerSecond ?? row.windowsPerSecond ?? row.volumesPerSecond ?? undefined;

const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

/** The figures of a row that differ between rounds. */
const FIGURES = [
  "warmUpSeconds",
  "patchesPerSecond",
  "patchesPerSecondPerGpu",
  "scalingEfficiency",
  "aloneP50Ms",
  "allReduceMs",
  "exposedMs",
  "overlapShare",
  "windowsPerSecond",
  "volumesPerSecond",
  "residentPatchesPerSecond",
  "loadingRatio",
  "dice",
  "p50Ms",
  "p95Ms",
  "gpuBusyPercent",
  "watts",
  "teraflopPerSecond",
  "peakShare",
  "peakMemoryMiB",
  "buildSeconds",
] as const satisfies readonly (keyof BenchRow)[];

/** One row of each measurement: of several rounds the median of each figure. */
export function mergeRounds(rounds: readonly (readonly BenchRow[])[]): BenchRow[] {
  const groups = Map.groupBy(rounds.flat(), keyOf);
  return [...groups.values()].map((rows) => {
    const first = rows[0]!;
    if (rows.length === 1) return first;
    const medians = FIGURES.flatMap((figure) => {
      const values = rows.map((row) => row[figure]).filter((value) => typeof value === "number");
      return values.length > 0 ? [[figure, median(values)] as const] : [];
    });
    const speeds = rows.map(speedOf).filter((value) => value !== undefined);
    const spread = speeds.length > 1 ? (Math.max(...speeds) - Math.min(...speeds)) / median(speeds) : undefined;
    return { ...first, ...Object.fromEntries(medians), repeats: rows.length, ...(spread !== undefined && { spread }) };
  });
}

export interface Regression {
  row: string;
  figure: "speed" | "Dice";
  was: number;
  is: number;
}

export interface Comparison {
  compared: number;
  regressions: Regression[];
  /** Rows of the file that were not measured now. */
  missing: string[];
}

/**
 * What fell against an earlier measurement.
 *
 * @param tolerance - share of the speed that may be lost
 * @param diceTolerance - by which the mean Dice may fall
 */
export function compareRows(
  before: readonly BenchRow[],
  now: readonly BenchRow[],
  tolerance: number,
  diceTolerance: number,
): Comparison {
  const current = new Map(now.map((row) => [keyOf(row), row]));
  const regressions: Regression[] = [];
  const missing: string[] = [];
  let compared = 0;
  for (const row of before) {
    if (row.kind === "profile" || row.kind === "peer") continue;
    const found = current.get(keyOf(row));
    if (!found) {
      missing.push(nameOf(row));
      continue;
    }
    compared += 1;
    const [was, is] = [speedOf(row), speedOf(found)];
    if (was !== undefined && is !== undefined && is < was * (1 - tolerance))
      regressions.push({ row: nameOf(row), figure: "speed", was, is });
    if (typeof row.dice === "number" && typeof found.dice === "number" && found.dice < row.dice - diceTolerance)
      regressions.push({ row: nameOf(row), figure: "Dice", was: row.dice, is: found.dice });
  }
  return { compared, regressions, missing };
}

export interface Ratio {
  ours: string;
  theirs: string;
  unit: string;
  times: number;
}

/**
 * Each strategy against the first one of its augmentation, the fastest of ours against each peer, and our whole
 * commands against the peers' that do the same.
 */
export function ratiosOf(rows: readonly BenchRow[]): Ratio[] {
  const ratios: Ratio[] = [];
  const training = rows.filter((row) => row.kind === "training" && !row.without && row.patchesPerSecond);
  for (const group of Map.groupBy(training, (row) => `${row.augmentation}|${row.fold}`).values()) {
    const base = group[0]!;
    for (const row of group.slice(1))
      ratios.push({
        ours: nameOf(row),
        theirs: nameOf(base),
        unit: "patches/s",
        times: row.patchesPerSecond! / base.patchesPerSecond!,
      });
  }
  for (const peer of rows.filter((row) => row.kind === "peer")) {
    const does = peer.does?.startsWith("sliding_window_inference") ? BESIDE_AN_INFERER : peer.does;
    const same = rows.find((row) => row.kind === "command" && row.does === does);
    if (same?.volumesPerSecond && peer.volumesPerSecond)
      ratios.push({
        ours: nameOf(same),
        theirs: nameOf(peer),
        unit: "volumes/s",
        times: same.volumesPerSecond / peer.volumesPerSecond,
      });
    for (const [figure, unit] of UNITS) {
      const theirs = peer[figure];
      const ours = fastest(rows, figure);
      if (typeof theirs !== "number" || theirs === 0 || !ours) continue;
      ratios.push({ ours: nameOf(ours), theirs: nameOf(peer), unit, times: ours[figure]! / theirs });
    }
  }
  return ratios;
}

// MONAI's inferer reads and writes no file, ours does: what it leaves out is for it, not for us.
const BESIDE_AN_INFERER = "predict, file to mask, steady state, no mirroring";

const UNITS = [
  ["patchesPerSecond", "patches/s"],
  ["windowsPerSecond", "windows/s"],
] as const;

function fastest(rows: readonly BenchRow[], figure: (typeof UNITS)[number][0]): BenchRow | undefined {
  const ours = rows.filter((row) => row.kind !== "peer" && !row.without && typeof row[figure] === "number");
  return ours.toSorted((a, b) => b[figure]! - a[figure]!)[0];
}

/** The rows of a run's report, whose Dice is of real masks. */
export function rowsOfReport(report: Report): BenchRow[] {
  return report.rows.map((row) => {
    const scored = report.segmentations.find(
      (one) =>
        one.fold === row.fold &&
        one.strategy === row.strategy &&
        one.engine === (row.engine ?? row.diceFrom ?? "torch"),
    );
    const byClass = scored?.classes.flatMap((one) => (one.dice === null ? [] : [[one.class, one.dice] as const]));
    return {
      kind: row.kind,
      strategy: row.strategy,
      ...(row.engine && { engine: row.engine }),
      fold: row.fold,
      ...(row.kind === "training" && { augmentation: "recipe" as const }),
      ...(row.precision && { precision: row.precision as BenchRow["precision"] }),
      batch: row.batch,
      patchesPerSecond: row.patchesPerSecond,
      windowsPerSecond: row.windowsPerSecond,
      volumesPerSecond: row.volumesPerSecond,
      dice: row.dice,
      ...(byClass && byClass.length > 0 && { diceByClass: Object.fromEntries(byClass) }),
      p50Ms: row.p50Ms,
      p95Ms: row.p95Ms,
      gpuBusyPercent: row.gpuBusyPercent,
      usdPer1000Volumes: row.usdPer1000Volumes,
      versions: row.versions,
      ...(row.note && { note: row.note }),
    };
  });
}

const shown = (value: number | null | undefined, format: (value: number) => string = significant) =>
  value === null || value === undefined ? "not measured" : format(value);

const percent = (share: number) => `${significant(100 * share)} %`;

/** The table that a person reads. Columns that no row has are left out. */
export function benchTable({ rows }: Pick<Bench, "rows">): Table {
  const listed = rows.filter((row) => row.kind !== "profile");
  const columns: { title: string; of: (row: BenchRow) => number | null | undefined; format?: (n: number) => string }[] =
    [
      { title: "batch", of: (row) => row.batch, format: String },
      { title: "patches/s", of: (row) => row.patchesPerSecond },
      { title: "a GPU", of: (row) => row.patchesPerSecondPerGpu },
      { title: "scaling", of: (row) => row.scalingEfficiency, format: percent },
      { title: "all-reduce ms", of: (row) => row.allReduceMs },
      { title: "hidden", of: (row) => row.overlapShare, format: percent },
      { title: "windows/s", of: (row) => row.windowsPerSecond },
      { title: "volumes/s", of: (row) => row.volumesPerSecond },
      { title: "Dice", of: (row) => row.dice, format: (dice) => dice.toFixed(4) },
      { title: "p50 ms", of: (row) => row.p50Ms },
      { title: "p95 ms", of: (row) => row.p95Ms },
      { title: "loading", of: (row) => row.loadingRatio, format: (times) => `${times.toFixed(2)}x` },
      { title: "GPU busy", of: (row) => row.gpuBusyPercent, format: (value) => `${significant(value)} %` },
      { title: "TFLOP/s", of: (row) => row.teraflopPerSecond },
      { title: "of peak", of: (row) => row.peakShare, format: percent },
      { title: "MiB", of: (row) => row.peakMemoryMiB, format: (value) => String(Math.round(value)) },
      { title: "W", of: (row) => row.watts },
      { title: "$/1000 volumes", of: (row) => row.usdPer1000Volumes, format: usd },
    ];
  const used = columns.filter(({ of }) => listed.some((row) => typeof of(row) === "number"));
  return {
    columns: [{ title: "row" }, ...used.map(({ title }) => ({ title, align: "right" as const }))],
    rows: listed.map((row) => [nameOf(row), ...used.map(({ of, format }) => shown(of(row), format))]),
  };
}

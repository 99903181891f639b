// voxelburst bench [DATASET]: the ladder's rows, timed on this machine. Without a dataset on phantoms, for a stated
// number of steps; with one, whole trainings through the workflow, so that each row has its Dice.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import {
  type Bench,
  type BenchRow,
  benchFailure,
  benchRow,
  bench as benchSchema,
  engine as engineName,
  keys,
  type Peer,
  PRICES_DATE,
  PRICES_SOURCE,
  parseOrThrow,
  peer,
  priceOf,
  strategy as strategyName,
  VoxelburstError,
} from "../../contracts/index.ts";
import { benchTable, type Comparison, compareRows, mergeRounds, ratiosOf, rowsOfReport } from "../bench-rows.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { runWithProgress } from "../command-progress.ts";
import { conductWithProgress, failureOf } from "../conduct.ts";
import { EXIT } from "../exit-codes.ts";
import { significant } from "../format.ts";
import { note, warning } from "../messages.ts";
import { datasetOptions, examineAloud, type RunOptions, showExamination } from "./run.ts";

export interface BenchOptions extends Pick<RunOptions, "recipe" | "set"> {
  strategies?: string;
  gpus?: string;
  engines?: string;
  augmentations?: string;
  without?: string;
  size?: string;
  patch?: string;
  cases?: string;
  batch?: string;
  width?: string;
  precision?: string;
  warmUp?: string;
  steps?: string;
  seconds?: string;
  profile?: boolean;
  compare?: string;
  against?: string;
  tolerance: string;
  diceTolerance: string;
  repeats?: string;
  pricedAs: string;
  out?: string;
}

/** Rounds of a comparison: of three the median drops one that was disturbed. */
const COMPARISON_ROUNDS = 3;

interface Round {
  /** Of a ladder: the run whose cases the peers get. */
  runId?: string;
  rows: BenchRow[];
  failed: Bench["failed"];
  facts: Omit<Partial<Bench>, "rows" | "failed">;
}

export async function bench(
  context: CommandContext,
  dataset: string | undefined,
  options: BenchOptions,
): Promise<CommandResult> {
  const { emit, workbench, signal } = context;
  const tolerance = shareOf(options.tolerance, "--tolerance");
  const diceTolerance = numberOf(options.diceTolerance, "--dice-tolerance");
  const price = priceOf(options.pricedAs, "--priced-as");
  const peers = listOf(options.compare, peer.options, "--compare");
  const before = options.against === undefined ? undefined : readBaseline(options.against);
  const rounds = options.repeats ? Math.max(1, numberOf(options.repeats, "--repeats")) : before ? COMPARISON_ROUNDS : 1;
  const machine = await workbench.describeMachine();
  const hardware = machine.gpus > 0 ? `${machine.gpus}x ${machine.gpuName}` : machine.cpuName;
  if (before && before.hardware !== hardware) throw otherHardware(before.hardware, hardware);

  const taken: Round[] = [];
  for (let round = 0; round < rounds && !signal.aborted; round += 1) {
    if (rounds > 1) emit(note("RoundStarted", `round ${round + 1} of ${rounds}`));
    taken.push(dataset ? await ladder(context, dataset, options) : await phantoms(context, options));
  }
  if (signal.aborted && !taken.some((round) => round.rows.length > 0))
    return { exitCode: EXIT.cancelled, json: { status: "cancelled" } };
  const compared =
    peers.length > 0 && !signal.aborted
      ? await peerRows(context, peers, options, taken[0]!.runId)
      : { rows: [], failed: [] };
  const rows = [...mergeRounds(taken.map((round) => round.rows)), ...compared.rows].map((row) =>
    priced(row, price.usdPerHour / price.gpus, machine.gpus),
  );
  const document = benchSchema.parse({
    schema: 1,
    what: "",
    ...taken[0]!.facts,
    command: ["voxelburst", ...process.argv.slice(2)].join(" "),
    commit: commitOf(),
    version: workbench.version,
    date: new Date().toISOString(),
    hardware,
    cpus: machine.cpus,
    versions: { ...machine.versions, ...taken[0]!.facts.versions },
    pricedAs: {
      instanceType: price.instanceType,
      usdPerHour: price.usdPerHour,
      date: PRICES_DATE,
      source: PRICES_SOURCE,
    },
    rows,
    failed: [...taken.flatMap((round) => round.failed), ...compared.failed],
    notes:
      machine.gpus > 0 ? [] : ["There is no GPU here: these are rows of the processor, and what needs one is missing."],
  } satisfies Bench);

  const file = path.resolve(options.out ?? path.join(workbench.home.folder, "bench", `${stampOf(document)}.json`));
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(document, null, 1)}\n`);
  emit({ kind: "table", code: "Benched", title: `${document.what}; ${hardware}`, table: benchTable(document) });
  for (const failure of document.failed) emit(warning(failure.code, `${failure.row}: ${failure.message}`));
  for (const text of document.notes) emit(note("BenchNote", text));
  const ratios = ratiosOf(rows);
  for (const { ours, theirs, unit, times } of ratios)
    emit(note("Ratio", `${significant(times)}x ${unit}: ${ours} / ${theirs}`));
  emit(note("BenchWritten", `results: ${file}`));
  const json = { status: "succeeded", file, ratios, bench: document };
  if (signal.aborted) return { exitCode: EXIT.cancelled, json: { ...json, status: "cancelled" } };
  if (document.failed.length > 0) return { exitCode: EXIT.runFailed, json: { ...json, status: "failed" } };
  if (!before) return { exitCode: EXIT.done, json };
  return judged(context, compareRows(before.rows, rows, tolerance, diceTolerance), json);
}

/** Exit 6 where speed or Dice fell; a comparison of nothing is no success either. */
function judged({ emit }: CommandContext, comparison: Comparison, json: object): CommandResult {
  for (const row of comparison.missing) emit(warning("RowMissing", `not measured this time: ${row}`));
  if (comparison.compared === 0)
    throw new VoxelburstError(
      "NothingToCompare",
      "No row of the earlier results was measured this time.",
      "Give --against a file of the same strategies, patch and batch, or repeat its command.",
      { field: "--against" },
    );
  for (const { row, figure, was, is } of comparison.regressions) {
    const text = `${figure} of ${row} fell from ${significant(was)} to ${significant(is)}`;
    emit({ kind: "error", code: "Regression", text, remedy: "Find the change that costs it, or raise --tolerance." });
  }
  const fell = comparison.regressions.length > 0;
  if (!fell) emit(note("NoRegression", `${comparison.compared} rows are as fast and as accurate as before`));
  return {
    exitCode: fell ? EXIT.regression : EXIT.done,
    json: { ...json, status: fell ? "regression" : "succeeded", comparison },
  };
}

/** Timed steps on phantoms. */
async function phantoms(context: CommandContext, options: BenchOptions): Promise<Round> {
  const given: [string, string | undefined][] = [
    ["--strategies", options.strategies],
    ["--gpus", options.gpus],
    ["--engines", options.engines],
    ["--augmentations", options.augmentations],
    ["--without", options.without],
    ["--size", options.size],
    ["--patch", options.patch],
    ["--cases", options.cases],
    ["--batch", options.batch],
    ["--width", options.width],
    ["--precision", options.precision],
    ["--warm-up", options.warmUp],
    ["--steps", options.steps],
    ["--seconds", options.seconds],
  ];
  const args = given.flatMap(([name, value]) => (value === undefined ? [] : [name, value]));
  const { rows, failed, ...facts } = await measured(context, [
    "bench",
    ...args,
    ...(options.profile ? ["--profile"] : []),
  ]);
  return { ...checked(rows, failed), facts };
}

type Measured = Round["facts"] & { rows: unknown[]; failed: unknown[] };

/** The command's document; where it ends early, the rows that it has finished and why there are no more. */
async function measured(context: CommandContext, args: readonly [string, ...string[]]): Promise<Measured> {
  let latest: Measured | undefined;
  const onObject = (value: Record<string, unknown>) => {
    latest = value as unknown as Measured;
  };
  try {
    await runWithProgress(context, "train", args, { onObject });
  } catch (error) {
    if (!(error instanceof VoxelburstError) || !latest) throw error;
    const { code, message, remedy } = error;
    latest = { ...latest, failed: [...latest.failed, { row: "the rest", code, message, remedy }] };
  }
  return latest!;
}

function checked(rows: readonly unknown[], failed: readonly unknown[]): Pick<Round, "rows" | "failed"> {
  return { rows: rows.map((row) => benchRow.parse(row)), failed: failed.map((one) => benchFailure.parse(one)) };
}

/** The ladder through the workflow: nothing that is timed is skipped. */
async function ladder(context: CommandContext, dataset: string, options: BenchOptions): Promise<Round> {
  const { workbench, emit } = context;
  const machine = await workbench.describeMachine();
  const strategies = listOf(options.strategies ?? "fp32,amp,dali,fused", strategyName.options, "--strategies");
  const engines = listOf(options.engines ?? machine.engines.join(","), engineName.options, "--engines");
  const set = [...options.set, `strategies=[${strategies.join(", ")}]`, `engines=[${engines.join(", ")}]`];
  const examined = await examineAloud(context, dataset, {
    ...datasetOptions({ ...options, set }),
    nonce: new Date().toISOString(),
  });
  await showExamination(context, examined);
  const begun = await workbench.begin(examined);
  const conducted = await conductWithProgress(context, begun.claimed!);
  const report = await workbench.report(begun.request.runId);
  if (!report) throw failureOf(undefined, conducted);
  emit(note("RunEnded", `run ${begun.request.runId} ${report.status}`));
  const failed = report.errors.map(({ taskId, stage, code, message, remedy }) => ({
    row: taskId ?? stage ?? "run",
    code,
    message,
    remedy,
  }));
  const { runId } = begun.request;
  return {
    runId,
    rows: rowsOfReport(report),
    failed,
    facts: { what: `${report.title}: the ladder through the workflow` },
  };
}

/** The peers, each in an environment of its own: on a run's cases, with our whole commands beside them, or on phantoms. */
async function peerRows(
  context: CommandContext,
  peers: readonly Peer[],
  options: BenchOptions,
  runId: string | undefined,
) {
  const sizes = (["size", "patch", "batch", "cases", "width", "seconds"] as const).flatMap((name) =>
    options[name] === undefined ? [] : [`--${name}`, options[name]],
  );
  const data =
    runId === undefined ? [] : ["--preprocess-task", context.workbench.pathOf(keys.task(runId, "preprocess"))];
  const home = path.join(context.workbench.home.folder, "peers");
  const args = [
    "bench",
    "--strategies",
    "",
    "--compare",
    peers.join(","),
    "--peers-home",
    home,
    ...sizes,
    ...data,
  ] as const;
  const { rows = [], failed = [] } = await runWithProgress(context, "train", [...args]);
  return checked(rows as unknown[], failed as unknown[]);
}

function priced(row: BenchRow, usdPerGpuHour: number, gpus: number): BenchRow {
  if (gpus === 0 || !row.volumesPerSecond || typeof row.usdPer1000Volumes === "number") return row;
  const usdPerHour = usdPerGpuHour * (row.gpus ?? 1);
  return { ...row, usdPer1000Volumes: ((1000 / row.volumesPerSecond) * usdPerHour) / 3600 };
}

function readBaseline(file: string): Bench {
  if (!existsSync(file)) throw usage("--against", file, "a results file of `voxelburst bench`");
  try {
    return parseOrThrow(benchSchema, JSON.parse(readFileSync(file, "utf8")), file, "UsageInvalid");
  } catch (cause) {
    if (cause instanceof SyntaxError) throw usage("--against", file, "a results file of `voxelburst bench`");
    throw cause;
  }
}

const usage = (field: string, got: string, allowed: string) =>
  new VoxelburstError("UsageInvalid", `${field} is ${got}; allowed: ${allowed}.`, `Correct ${field}.`, {
    field,
    got,
    allowed,
  });

const otherHardware = (before: string, now: string) =>
  new VoxelburstError(
    "UsageInvalid",
    `The earlier results are of ${before}, this machine has ${now}: their speeds cannot be compared.`,
    "Compare with a file that was measured on this hardware.",
    { field: "--against", got: before, allowed: now },
  );

/** "5%" or "0.05". */
function shareOf(text: string, field: string): number {
  const match = /^(\d+(?:\.\d+)?)(%?)$/.exec(text.trim());
  if (!match) throw usage(field, text, "a share such as 5%");
  const value = Number(match[1]) / (match[2] ? 100 : 1);
  if (value >= 1) throw usage(field, text, "a share below 100%");
  return value;
}

function numberOf(text: string, field: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw usage(field, text, "a number that is not negative");
  return value;
}

function listOf<T extends string>(text: string | undefined, allowed: readonly T[], field: string): T[] {
  const names = (text ?? "").split(",").filter((name) => name !== "");
  for (const name of names) if (!allowed.includes(name as T)) throw usage(field, name, allowed.join(", "));
  return names as T[];
}

/** The commit of this software; "unknown" outside of a checkout. */
function commitOf(): string {
  const git = (...args: string[]) =>
    execFileSync("git", args, {
      cwd: import.meta.dirname,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  try {
    const differs = git("status", "--porcelain", "--untracked-files=no") !== "";
    return `${git("rev-parse", "HEAD")}${differs ? "-dirty" : ""}`;
  } catch {
    return "unknown";
  }
}

const stampOf = (document: Bench) => document.date.replaceAll(/[:.]/g, "-");

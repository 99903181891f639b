// voxelburst run DATASET: from the dataset to the report. The estimate comes first.
import { readFileSync } from "node:fs";
import path from "node:path";
import { VoxelburstError } from "../../contracts/index.ts";
import { Faults } from "../../local/faults.ts";
import { ingestSeconds } from "../../local/stage-memory.ts";
import type { BegunRun, DatasetOptions, Examination } from "../../local/workbench.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { conductAndShow, showRun } from "../conduct.ts";
import { bytes, duration, plural } from "../format.ts";
import { note, warning } from "../messages.ts";

export interface RunOptions {
  /** Path of a file. */
  recipe?: string;
  /** Where no file is named, and in place of the dataset's recipe.yaml. */
  ownRecipe?: DatasetOptions["recipe"];
  set: string[];
  /** Run although the same content has succeeded: nothing that is timed is skipped. */
  again?: boolean;
  /** Faults such as reclaim@preprocess:3. */
  inject?: string[];
}

/** @throws VoxelburstError RecipeMissing */
export function datasetOptions(options: Pick<RunOptions, "recipe" | "ownRecipe" | "set">): DatasetOptions {
  const recipe = options.recipe ? readRecipeFile(options.recipe) : options.ownRecipe;
  return { set: options.set, ...(recipe ? { recipe } : {}) };
}

function readRecipeFile(file: string): { name: string; text: string } {
  try {
    return { name: path.basename(file), text: readFileSync(file, "utf8") };
  } catch (cause) {
    throw new VoxelburstError(
      "RecipeMissing",
      `The recipe ${file} cannot be read: ${(cause as NodeJS.ErrnoException).code}.`,
      "Name a file that exists and may be read; `voxelburst init` writes one.",
      { field: "--recipe", got: file, cause },
    );
  }
}

export async function run(given: CommandContext, dataset: string, options: RunOptions): Promise<CommandResult> {
  const context: CommandContext = { ...given, workbench: given.workbench, faults: new Faults(options.inject) };
  const { workbench } = context;
  const examined = await examineAloud(context, dataset, {
    ...datasetOptions(options),
    ...(options.again ? { nonce: new Date().toISOString() } : {}),
  });
  await showExamination(context, examined);
  return runBegun(context, await workbench.begin(examined));
}

/** A large dataset takes a while the first time: a person is told why. */
const SILENCE_MS = 2000;

/** Checks the dataset and says so when that takes long. */
export async function examineAloud(
  { workbench, emit }: CommandContext,
  dataset: string,
  options: DatasetOptions,
): Promise<Examination> {
  const words = "reading every file of the dataset once, to know its content; this is remembered";
  const timer = setTimeout(() => emit(note("DatasetReading", words)), SILENCE_MS);
  try {
    return await workbench.examine(dataset, options);
  } finally {
    clearTimeout(timer);
  }
}

/** What is known before anything starts: the cases, what is wrong with some, how long ingest will take. */
export async function showExamination({ workbench, emit }: CommandContext, examined: Examination): Promise<void> {
  const training = examined.cases.filter((one) => one.split === "training").length;
  const test = examined.cases.length - training;
  const machine = await workbench.machine();
  const where = machine.gpus > 0 ? `${machine.gpus} x ${machine.gpuName}` : `${plural(machine.cpus, "core")}, no GPU`;
  emit(
    note(
      "DatasetExamined",
      `${examined.dataset.name}: ${plural(training, "training case")}, ${test} to predict, ${bytes(examined.bytes)}; this machine: ${where}`,
    ),
  );
  for (const { caseId, code } of examined.missing)
    emit(
      warning(code, `${caseId} has no ${code === "LabelMissing" ? "label" : "image"} and will be put into quarantine`),
    );
  emit(
    note(
      "IngestEstimated",
      `estimate: ingest takes about ${duration(ingestSeconds(examined.cases, machine))}; the plan then estimates the rest, before training starts`,
    ),
  );
}

/** Conducts the run when it is this process's to conduct; otherwise says what is known of it. */
export async function runBegun(context: CommandContext, begun: BegunRun): Promise<CommandResult> {
  const { emit } = context;
  const { runId } = begun.request;
  if (begun.claimed) {
    const words = begun.outcome === "redriven" ? "goes on" : "starts";
    emit(note("RunStarted", `run ${runId} ${words}`));
    return conductAndShow(context, begun.claimed, begun.outcome);
  }
  if (begun.outcome === "succeeded") {
    emit(
      note(
        "RunNamed",
        `run ${runId} has succeeded with exactly this content: every stage is skipped (ingest, plan, preprocess, train, compile, infer, report)`,
      ),
    );
    return showRun(context, runId, "succeeded", "succeeded");
  }
  emit(note("RunOpen", `run ${runId} is being conducted by another process; \`voxelburst watch ${runId}\` shows it`));
  return showRun(context, runId, "running", "open");
}

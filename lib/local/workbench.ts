// Everything that a command needs to start, continue and look at runs on this machine.
import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { refuseEngines } from "../../lambdas/plan/choices.ts";
import { beginRun, type Examination, examineDataset, type StartRunInput } from "../../lambdas/start-run/core.ts";
import {
  keys,
  type Machine,
  type Report,
  type RunRequest,
  readJson,
  report as reportSchema,
  runRequest,
  under,
  VoxelburstError,
} from "../contracts/index.ts";
import type { ExecutionResult } from "./asl/index.ts";
import { ContentTags } from "./content-tags.ts";
import { type ClaimedRun, LocalExecutions } from "./executions.ts";
import type { Faults } from "./faults.ts";
import { FolderStore, pathOf } from "./folder-store.ts";
import { findHome, folderUri, type Home } from "./home.ts";
import { conductRun, type RunObserver, readWorkflow } from "./local-engine.ts";
import { findPython, type MachineDescription, machineOf, probe } from "./machine.ts";
import { pseudonymKeyAt } from "./pseudonym-key.ts";
import { softwareVersion } from "./software-version.ts";

export type { Examination } from "../../lambdas/start-run/core.ts";

export interface DatasetOptions {
  recipe?: { name: string; text: string };
  set?: readonly string[];
  nonce?: string;
}

/** The run of a dataset: new, to be continued, or there already. */
export interface BegunRun {
  request: RunRequest;
  outcome: "started" | "redriven" | "open" | "succeeded";
  /** Present when this process is the one to conduct it. */
  claimed?: ClaimedRun;
}

export class Workbench {
  readonly home: Home;
  readonly store: FolderStore;
  readonly version: string;
  private known: Promise<MachineDescription> | undefined;

  constructor(home = findHome()) {
    this.home = home;
    this.store = new FolderStore(new ContentTags(path.join(home.cache, "content-tags")));
    this.version = softwareVersion();
  }

  /** @throws VoxelburstError PythonEnvironmentMissing */
  get python(): string {
    return findPython();
  }

  /** @throws VoxelburstError PythonPackageMissing or PythonEnvironmentBroken */
  describeMachine(): Promise<MachineDescription> {
    this.known ??= probe(this.home, this.python);
    return this.known;
  }

  machine(): Promise<Machine> {
    return this.describeMachine().then(machineOf);
  }

  /** Checks everything that can be known before a volume is read. @throws VoxelburstError as start-run does */
  examine(dataset: string, options: DatasetOptions = {}): Promise<Examination> {
    return examineDataset(this.inputOf(dataset, options), {
      store: this.store,
      version: this.version,
      pseudonymKey: pseudonymKeyAt(this.home.pseudonymKey),
    });
  }

  /** The dataset is used where it is, never copied. */
  private inputOf(dataset: string, options: DatasetOptions): StartRunInput {
    const folder = datasetFolder(dataset);
    return {
      dataset: nameOf(folder),
      datasetUri: folderUri(folder),
      artefactsUri: this.home.artefactsUri,
      quarantineUri: this.home.quarantineUri,
      ...options,
    };
  }

  /** @throws VoxelburstError EngineUnavailable, as plan would refuse it after ingest, and as start-run does */
  async begin(examined: Examination): Promise<BegunRun> {
    const refusal = refuseEngines(examined.recipe, await this.machine());
    if (refusal) throw new VoxelburstError(refusal.code, refusal.message, refusal.remedy, { field: "engines" });
    return this.beginIn(this.home, examined, readWorkflow());
  }

  /**
   * Begins the workflow up to one of its states, for a command that only checks or plans. It is no run: it is kept
   * aside, but what its stages write is found by a run of the same content.
   */
  async beginUntil(last: "Ingest" | "Plan", dataset: string, options: DatasetOptions): Promise<BegunRun> {
    const aside = { ...this.home, runs: path.join(this.home.folder, "checks") };
    const examined = await this.examine(dataset, { ...options, nonce: `until ${last}` });
    const begun = await this.beginIn(aside, examined, workflowUntil(last));
    // The nonce has given it a name of its own; its outputs are to be those of the run without one.
    if (begun.claimed) {
      const { nonce: _nonce, ...request } = begun.claimed.request;
      begun.claimed.request = request;
    }
    return begun;
  }

  private async beginIn(home: Home, examined: Examination, definition: string): Promise<BegunRun> {
    const executions = new LocalExecutions(home, definition, this.version);
    const { cpus } = await this.machine();
    const begun = await beginRun(examined, {
      store: this.store,
      executions,
      version: this.version,
      pseudonymKey: pseudonymKeyAt(this.home.pseudonymKey),
      // A child a core; the cases are dealt out evenly, and a killed child redoes only what it had not finished.
      ingestShards: (cases) => Math.min(cases, cpus),
    });
    return { ...begun, claimed: executions.claimed };
  }

  /** Continues a run that is not finished, as a redrive does. @returns undefined when only a new attempt can go on */
  async continue(request: RunRequest): Promise<ClaimedRun | undefined> {
    const executions = new LocalExecutions(this.home, readWorkflow(), this.version);
    const state = await executions.state(request.runId);
    if (state === "absent") await executions.start(request);
    else await executions.redrive(request);
    return executions.claimed;
  }

  async conduct(
    claimed: ClaimedRun,
    observer: RunObserver,
    signal: AbortSignal,
    faults?: Faults,
  ): Promise<ExecutionResult> {
    return conductRun(claimed, {
      store: this.store,
      clock: { now: () => new Date() },
      machine: await this.machine(),
      python: this.python,
      pseudonymKey: pseudonymKeyAt(this.home.pseudonymKey),
      faults,
      observer,
      signal,
    });
  }

  request(runId: string): Promise<RunRequest> {
    return readJson(this.store, under(this.home.artefactsUri, keys.request(runId)), runRequest);
  }

  /** undefined while there is none. */
  async report(runId: string): Promise<Report | undefined> {
    const uri = under(this.home.artefactsUri, keys.report(runId, "report.json"));
    return (await this.store.exists(uri)) ? readJson(this.store, uri, reportSchema) : undefined;
  }

  /** Lines of a JSON Lines object of the artefacts; undefined when there is none. */
  countLines(key: string): number | undefined {
    try {
      return readFileSync(this.pathOf(key), "utf8").split("\n").length - 1;
    } catch {
      return undefined;
    }
  }

  /** The absolute path of an object of the artefacts. */
  pathOf(key: string): string {
    return pathOf(under(this.home.artefactsUri, key)).replace(/\/$/, "");
  }
}

/** A dataset's folder, or the one with the manifest that was named. @throws VoxelburstError DatasetMissing */
export function datasetFolder(dataset: string): string {
  const at = path.resolve(dataset);
  const folder = path.basename(at) === "dataset.json" ? path.dirname(at) : at;
  if (existsSync(folder) && statSync(folder).isDirectory()) return folder;
  throw new VoxelburstError(
    "DatasetMissing",
    `${dataset} is no folder.`,
    "Name the folder that has dataset.json and the files that it names.",
    { field: "DATASET", got: dataset },
  );
}

/** The path of a file:// URI of a folder. */
export const folderPath = (uri: string): string => pathOf(uri);

/** The <name> of datasets/<name>/: the folder's name in the letters that it may have. */
export function nameOf(folder: string): string {
  const name = path
    .basename(folder)
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replace(/^-+/, "")
    .slice(0, 63)
    .replace(/-+$/, "");
  return name || "dataset";
}

interface AnyState {
  Next?: string;
  Default?: string;
  Choices?: { Next: string }[];
  Catch?: { Next: string }[];
}

/**
 * The workflow up to one of its stages, which then is the last. A stage is a single state, or a ladder that
 * <Stage>Outcome leads out of when its job is done. What failed ends the execution: there is no report to go to.
 *
 * @param last - a stage of the top level that is reached before any choice of the plan's
 */
export function workflowUntil(last: string, text = readWorkflow()): string {
  const whole = JSON.parse(text) as { StartAt: string; States: Record<string, AnyState> };
  const states = { ...whole.States };
  const outcome = states[`${last}Outcome`];
  const next = (outcome?.Choices?.[0] ?? states[last])?.Next;
  if (next === undefined || !(next in states)) throw new Error(`The workflow does not lead to ${last}.`);
  const end = (state: object): AnyState => state;
  states[next] = end({ Type: "Succeed" });
  states.Report = end({ Type: "Fail", Error: "{% $failures[0].error %}", Cause: "{% $failures[0].cause %}" });
  const kept = new Set<string>();
  const keep = (name: string): void => {
    if (kept.has(name)) return;
    kept.add(name);
    const { Next, Default, Choices = [], Catch = [] } = states[name]!;
    for (const to of [Next, Default, ...[...Choices, ...Catch].map((way) => way.Next)]) if (to !== undefined) keep(to);
  };
  keep(whole.StartAt);
  const entries = Object.entries(states).filter(([name]) => kept.has(name));
  return JSON.stringify({ ...whole, States: Object.fromEntries(entries) });
}

// A whole run in memory, as the stages would have left it; tests take pieces away or put others in.
import {
  type CaseScores,
  type CompileResult,
  compileTaskId,
  type EngineName,
  type ErrorDocument,
  type Host,
  hashOf,
  type InferResult,
  type IngestResult,
  inferTaskId,
  keys,
  type Plan,
  type PreprocessResult,
  type QuarantineEntry,
  type ReportInput,
  type Result,
  type Strategy,
  type TrainResult,
  toJsonLines,
  trainTaskId,
} from "../../../lib/contracts/index.ts";
import { caseIds, type FixtureOptions, hostOf, planOf, planOutputOf, RUN_ID, recordOf } from "./fixture-documents.ts";
import { MemoryStore } from "./memory-store.ts";
import { previewPng } from "./preview-png.ts";

/** A small generator with a seed (mulberry32): the same run every time. */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const START = Date.parse("2026-03-01T09:00:00Z");

/** A complete run; every document fits its contract. */
export class RunFixture {
  readonly store = new MemoryStore();
  readonly input: ReportInput;
  readonly plan: Plan;
  readonly runId: string;
  readonly root: string;
  readonly #options: Required<FixtureOptions>;
  #clock = START;
  #random = seeded(7);

  constructor(options: FixtureOptions = {}) {
    this.#options = {
      where: "local",
      folds: ["fold1"],
      strategies: ["dali"],
      engines: ["onnxruntime"],
      validationCases: 12,
      classes: ["organ", "lesion"],
      gpu: false,
      previewSize: 48,
      name: "Phantom abdomen",
      ...options,
    };
    this.runId = RUN_ID;
    this.root = this.#options.where === "local" ? "file:///runs/artefacts/" : "s3://artefacts/";
    this.plan = planOf(this.#options);
    this.input = {
      request: {
        schema: 1,
        runId: this.runId,
        identity: hashOf("identity"),
        attempt: 1,
        version: "0.1.0",
        dataset: "phantoms",
        datasetUri: this.#options.where === "local" ? "file:///data/phantoms/" : "s3://data/datasets/phantoms/",
        artefactsUri: this.root,
        quarantineUri: this.#options.where === "local" ? "file:///runs/quarantine/" : "s3://quarantine/",
        ingestShards: 2,
      },
      plan: planOutputOf(this.#options),
      failures: [],
    };
    this.#ingest();
    this.#put(keys.plan(this.runId), this.plan);
    this.#preprocess();
    for (const { fold, strategy } of this.input.plan!.trainings) this.#training(fold, strategy);
  }

  /** Time at which the report is made: after everything else. */
  now(): Date {
    return new Date(this.#clock + 2000);
  }

  uri(key: string): string {
    return this.root + key;
  }

  read<T>(key: string): T {
    return JSON.parse(this.store.text(this.uri(key))) as T;
  }

  lines<T>(key: string): T[] {
    return this.store
      .text(this.uri(key))
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as T);
  }

  /** Changes a document in place. */
  change<T>(key: string, change: (document: T) => void): void {
    const document = this.read<T>(key);
    change(document);
    this.#put(key, document);
  }

  changeLines<T>(key: string, change: (lines: T[]) => T[]): void {
    this.#put(key, toJsonLines(change(this.lines<T>(key))));
  }

  remove(key: string): void {
    if (!this.store.objects.delete(this.uri(key))) throw new Error(`${key} was not there`);
  }

  /** Removes whatever begins with one of the prefixes. */
  removeAll(...prefixes: string[]): void {
    for (const uri of [...this.store.objects.keys()])
      if (prefixes.some((prefix) => uri.startsWith(this.uri(prefix)))) this.store.objects.delete(uri);
  }

  put(key: string, body: unknown): void {
    this.#put(key, body);
  }

  /** The error document of a job, as the Python stages write it. */
  fail(error: Omit<ErrorDocument, "schema">): void {
    this.#put(keys.error(this.runId, error.taskId!, error.index), { schema: 1, ...error });
  }

  quarantine(entry: QuarantineEntry): void {
    const key = keys.quarantined(this.runId, 1);
    this.#put(key, toJsonLines([...this.lines<QuarantineEntry>(key), entry]));
  }

  /** All scores of one segmentation, of all children. */
  scoresOf(fold: string, strategy: Strategy, engine: EngineName): CaseScores[] {
    return [0, 1].flatMap((index) =>
      this.lines<CaseScores>(keys.scores(this.runId, inferTaskId(fold, strategy, engine), index)),
    );
  }

  resultKey(taskId: string, index?: number): string {
    return keys.result(this.runId, taskId, index);
  }

  #put(key: string, body: unknown): void {
    const bytes =
      body instanceof Uint8Array
        ? body
        : new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body));
    this.store.objects.set(this.uri(key), bytes);
  }

  /** Writes a result that starts now and moves the clock past it; children of one array start together. */
  #result<R extends Result>(
    seconds: number,
    memory: number,
    host: Host,
    rest: Omit<R, "schema" | "runId" | "inputHash" | "version" | "startedAt" | "seconds" | "peakMemoryMiB" | "host">,
    options: { together?: boolean; delay?: number } = {},
  ): void {
    const startedAt = this.#clock + (options.delay ?? 0) * 1000;
    const document = {
      schema: 1,
      runId: this.runId,
      inputHash: hashOf([rest, "input"]),
      version: "0.1.0",
      startedAt: new Date(startedAt).toISOString(),
      seconds,
      peakMemoryMiB: memory,
      host,
      ...rest,
    } as unknown as Result;
    this.#put(keys.result(this.runId, document.taskId, document.index), document);
    if (!options.together) this.#clock = startedAt + seconds * 1000 + 1000;
  }

  #ingest(): void {
    const ids = caseIds(this.#options);
    const shards = [ids.filter((_, at) => at % 2 === 0), ids.filter((_, at) => at % 2 === 1)];
    const quarantined: QuarantineEntry[][] = [
      [
        {
          caseId: "case-bad-affine",
          code: "LabelGeometryDiffers",
          message: "The label's affine is not the image's.",
          got: "spacing 1.0, 1.0, 2.0 mm",
          allowed: "spacing 1.0, 1.0, 1.0 mm, as the image",
          remedy: "Resample the label onto the image, or export both from one series.",
        },
      ],
      [
        {
          caseId: "case-truncated",
          code: "ImageUnreadable",
          message: "The compressed file ends before its data do.",
          got: "1.2 MB",
          allowed: "a whole gzip stream",
          remedy: "Upload the image again and compare checksums.",
        },
      ],
    ];
    for (const [index, shard] of shards.entries()) {
      for (const id of shard) this.#put(keys.caseRecord(hashOf(id)), recordOf(id));
      this.#put(
        keys.ingested(this.runId, index),
        toJsonLines(shard.map((caseId) => ({ caseId, recordKey: keys.caseRecord(hashOf(caseId)) }))),
      );
      this.#put(keys.quarantined(this.runId, index), toJsonLines(quarantined[index]!));
      this.#result<IngestResult>(
        12 + index * 3,
        410 + index * 25,
        hostOf(this.#options, { nibabel: "5.3.2", pydicom: "3.0.1" }),
        {
          taskId: "ingest",
          index,
          stage: "ingest",
          cases: shard.length + 1,
          done: shard.length,
          skipped: 0,
          quarantined: 1,
          casesKey: keys.ingested(this.runId, index),
          quarantineKey: keys.quarantined(this.runId, index),
        },
        { together: index === 0 },
      );
    }
  }

  #preprocess(): void {
    for (const index of [0, 1])
      this.#result<PreprocessResult>(
        20 + index * 4,
        900,
        hostOf(
          this.#options,
          { "nvidia-dali-cuda130": "2.4.0" },
          this.#options.gpu ? [] : ["DALI ran on the CPU: there is no GPU on this machine."],
        ),
        {
          taskId: "preprocess",
          index,
          stage: "preprocess",
          cases: this.#options.validationCases,
          done: this.#options.validationCases,
          skipped: 0,
          voxels: 4_000_000,
          volumesPerSecond: 1.2,
        },
        { together: index === 0 },
      );
  }

  #training(fold: string, strategy: Strategy): void {
    const rank = ["fp32", "amp", "dali", "fused", "ddp"].indexOf(strategy);
    const patchesPerSecond = (this.#options.gpu ? 60 : 4) * (1 + rank * 0.7);
    const steps = 1200;
    const host = hostOf(this.#options, {
      torch: "2.11.0",
      monai: "1.6.1",
      ...(rank >= 2 && { "nvidia-dali-cuda130": "2.4.0" }),
    });
    const trainSeconds = 400 / (1 + rank * 0.7);
    this.#result<TrainResult>(trainSeconds + 20, 2800 + rank * 100, host, {
      taskId: trainTaskId(fold, strategy),
      stage: "train",
      fold,
      strategy,
      precision: strategy === "fp32" ? "fp32" : "bf16",
      loader: rank >= 2 ? "dali" : "torch",
      batch: 2,
      steps,
      resumedFromStep: 0,
      trainSeconds,
      patchesPerSecond,
      volumesPerSecond: patchesPerSecond * 0.31,
      stepLatency: { p50Ms: 2000 / patchesPerSecond, p95Ms: 2600 / patchesPerSecond },
      ...(this.#options.gpu && { gpuBusyPercent: 62 + rank * 7 }),
      curve: Array.from({ length: 120 }, (_, at) => {
        const t = (at + 1) / 120;
        return {
          step: Math.round(steps * t),
          seconds: trainSeconds * t,
          loss: 1.6 * Math.exp(-4 * t) - 0.62 + 0.06 * (this.#random() - 0.5),
          learningRate: 0.01 * (1 - t) ** 0.9,
          ...((at + 1) % 6 === 0 && {
            pseudoDice: Math.min(1, 0.9 * (1 - Math.exp(-5 * t)) + 0.015 * (this.#random() - 0.5)),
          }),
        };
      }),
      modelPrefix: keys.output("train", hashOf([fold, strategy])),
      weightsSha256: hashOf([fold, strategy, "weights"]),
      parameters: 5_600_000,
    });
    for (const engine of this.#options.engines) this.#engine(fold, strategy, engine);
  }

  #engine(fold: string, strategy: Strategy, engine: EngineName): void {
    const speed = { torch: 1, inductor: 1.5, onnxruntime: 1.7, tensorrt: 3.4, triton: 3 }[engine];
    const host = hostOf(this.#options, {
      torch: "2.11.0",
      ...(engine === "onnxruntime" && { onnxruntime: "1.24.0" }),
      ...(engine === "tensorrt" && { tensorrt: "10.6.0" }),
    });
    const precision = engine === "torch" ? "fp32" : "bf16";
    this.#result<CompileResult>(14, 1500, host, {
      taskId: compileTaskId(fold, strategy, engine),
      stage: "compile",
      fold,
      strategy,
      engine,
      precision,
      buildSeconds: engine === "tensorrt" ? 95 : 8,
      enginePrefix: keys.output("compile", hashOf([fold, strategy, engine])),
      parity: {
        cases: 2,
        meanDiceFp32: 0.871,
        meanDiceEngine: 0.8708,
        largestLogitDifference: engine === "torch" ? 0 : 0.021,
        argmaxAgreement: 0.99993,
        passed: true,
        rule: "Dice within 0.002 of FP32",
      },
    });
    const taskId = inferTaskId(fold, strategy, engine);
    const ids = this.plan.folds.find((entry) => entry.name === fold)!.validation;
    const random = seeded(11); // the same cases are hard for every engine
    const scores = ids.map((caseId): CaseScores => {
      const prefix = keys.output("infer", hashOf([fold, strategy, engine, caseId]));
      const classes = this.#options.classes.map((name, at) => {
        const hard = random();
        const dice = (at === 0 ? 0.97 - 0.1 * hard ** 3 : 0.92 - 0.5 * hard ** 2.5) - (engine === "torch" ? 0 : 0.001);
        return {
          class: name,
          dice,
          hd95Mm: 1 + 12 * (1 - dice),
          nsd: Math.min(1, dice + 0.03),
          referenceVoxels: Math.round(9000 / (at * 20 + 1)),
          predictedVoxels: Math.round(8800 / (at * 20 + 1)),
        };
      });
      this.#put(
        `${prefix}preview.png`,
        previewPng(this.#options.previewSize, Math.round((1 - classes.at(-1)!.dice) * this.#options.previewSize * 0.2)),
      );
      return {
        caseId,
        part: "validation",
        classes,
        meanDice: classes.reduce((sum, entry) => sum + entry.dice, 0) / classes.length,
        windows: 8,
        seconds: 0.9 / speed,
        maskKey: `${prefix}mask.nii.gz`,
        previewKey: `${prefix}preview.png`,
      };
    });
    for (const index of [0, 1]) {
      const own = scores.filter((_, at) => at % 2 === index);
      this.#put(keys.scores(this.runId, taskId, index), toJsonLines(own));
      this.#result<InferResult>(own.length * (0.9 / speed) + 4, 1900, host, {
        taskId,
        index,
        stage: "infer",
        fold,
        strategy,
        engine,
        precision,
        cases: own.length,
        done: own.length,
        skipped: 0,
        scoresKey: keys.scores(this.runId, taskId, index),
        batch: 4,
        windows: own.length * 8,
        windowsPerSecond: 8 / (0.7 / speed),
        modelSeconds: own.length * (0.7 / speed),
        fileToMaskSeconds: own.length * (0.9 / speed),
        volumesPerSecond: speed / 0.9,
        windowLatency: { p50Ms: 87 / speed, p95Ms: 120 / speed },
        ...(this.#options.gpu && { gpuBusyPercent: 71 }),
      });
    }
  }
}

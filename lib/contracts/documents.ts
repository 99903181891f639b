// The documents that cross a boundary, by the name of their JSON Schema and of their vectors.
import type { z } from "zod";
import { caseRecord, quarantineEntry } from "./case-record.ts";
import { errorDocument } from "./error.ts";
import { dataset, decathlonManifest, manifest, nnunetManifest } from "./manifest.ts";
import { modelFolder } from "./model-folder.ts";
import { night } from "./night.ts";
import { plan, planOutput } from "./plan.ts";
import { progressEvent } from "./progress.ts";
import { recipe } from "./recipe.ts";
import { report } from "./report.ts";
import { caseScores, ingestedCase, result } from "./result.ts";
import { runRequest } from "./run-request.ts";
import { splits } from "./splits.ts";
import { planInput, reportInput, reportOutput } from "./stage-io.ts";
import { inferCase, ingestCase, preprocessCase, task, trainCase } from "./task.ts";

export const documents = {
  manifest,
  "manifest-decathlon": decathlonManifest,
  "manifest-nnunet": nnunetManifest,
  dataset,
  splits,
  recipe,
  "run-request": runRequest,
  "case-record": caseRecord,
  "quarantine-entry": quarantineEntry,
  plan,
  "plan-input": planInput,
  "plan-output": planOutput,
  task,
  "ingest-case": ingestCase,
  "preprocess-case": preprocessCase,
  "train-case": trainCase,
  "infer-case": inferCase,
  result,
  "ingested-case": ingestedCase,
  "case-scores": caseScores,
  error: errorDocument,
  progress: progressEvent,
  "model-folder": modelFolder,
  night,
  report,
  "report-input": reportInput,
  "report-output": reportOutput,
} satisfies Record<string, z.ZodType>;

export type DocumentName = keyof typeof documents;

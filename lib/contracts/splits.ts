// splits.json beside the manifest: {"fold1": {"train": [ids], "val": [ids]}} or nnU-Net's list of such objects.
import * as z from "zod";
import { caseId, foldName } from "./primitives.ts";

const fold = z.strictObject({ train: z.array(caseId).min(1), val: z.array(caseId).min(1) });

export const splits = z.union([z.record(foldName, fold), z.array(fold).min(1)]);

export type Splits = z.infer<typeof splits>;

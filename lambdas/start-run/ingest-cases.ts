// The manifest's cases -> the lines of tasks/ingest.cases.jsonl, each with the hash of everything its record depends on.
import { createHmac } from "node:crypto";
import { type Dataset, hashOf, type IngestCase, type ObjectInfo, VoxelburstError } from "../../lib/contracts/index.ts";
import type { ManifestCase } from "./manifest-cases.ts";

export interface MissingInput {
  caseId: string;
  /** ImageMissing or LabelMissing: what ingest will put into quarantine. */
  code: "ImageMissing" | "LabelMissing";
}

export interface PreparedCases {
  cases: IngestCase[];
  missing: MissingInput[];
}

/** What is at a key of the manifest: an object, or the objects of a folder of DICOM. */
interface Found {
  input: { key: string; bytes: number };
  tags: readonly (readonly [string, string])[];
}

/** patient-<16 hex>: groups the cases of a patient and names nobody. The key never enters a bucket. */
export const pseudonymOf = (patient: string, key: string | Uint8Array): string =>
  `patient-${createHmac("sha256", key).update(patient).digest("hex").slice(0, 16)}`;

/**
 * A case whose image or label is not there stays in the list, without a label object or with an image of 0 bytes:
 * ingest puts it into quarantine with its reason and the good cases go on.
 *
 * @throws VoxelburstError NoUsableCase when no training case has both its image and its label
 */
export function prepareCases(
  manifestCases: readonly ManifestCase[],
  dataset: Dataset,
  listing: readonly ObjectInfo[],
  settings: { minSlices: number },
  version: string,
  pseudonymKey: string | Uint8Array,
): PreparedCases {
  const at = finder(listing);
  const missing: MissingInput[] = [];
  const cases = manifestCases.map((entry): IngestCase => {
    const images = entry.images.map((key) => at(key) ?? { input: { key, bytes: 0 }, tags: [] });
    const label = entry.label === undefined ? undefined : at(entry.label);
    if (images.some((image) => image.tags.length === 0)) missing.push({ caseId: entry.caseId, code: "ImageMissing" });
    else if (entry.split === "training" && !label && !dataset.classes)
      missing.push({ caseId: entry.caseId, code: "LabelMissing" });
    const patient = entry.patient === undefined ? undefined : pseudonymOf(entry.patient, pseudonymKey);
    const about = { caseId: entry.caseId, split: entry.split, patient, class: entry.class };
    return {
      ...about,
      caseHash: hashOf({
        ...about,
        images: images.map((image) => image.tags),
        label: label?.tags ?? null,
        channels: dataset.channels,
        labels: dataset.labels,
        ...(dataset.classes && { classes: dataset.classes }),
        settings,
        version,
      }),
      images: images.map((image) => image.input),
      ...(label ? { label: label.input } : {}),
    };
  });
  refuseWithoutUsable(cases, missing);
  return { cases, missing };
}

/** Looks a key up as an object, else as a folder. The listing is in ascending key order. */
function finder(listing: readonly ObjectInfo[]): (key: string) => Found | undefined {
  const objects = new Map(listing.map((object) => [object.key, object]));
  const folders = new Map<string, ObjectInfo[]>();
  for (const object of listing) {
    // Every folder above the object: a DICOM study may keep its series one level further down.
    for (let end = object.key.indexOf("/"); end >= 0; end = object.key.indexOf("/", end + 1)) {
      const folder = object.key.slice(0, end + 1);
      const inside = folders.get(folder);
      if (inside) inside.push(object);
      else folders.set(folder, [object]);
    }
  }
  return (key) => {
    const object = objects.get(key);
    if (object) return { input: { key, bytes: object.bytes }, tags: [[key, object.tag]] };
    const folder = key.endsWith("/") ? key : `${key}/`;
    const inside = folders.get(folder);
    if (!inside) return undefined;
    return {
      input: { key: folder, bytes: inside.reduce((sum, one) => sum + one.bytes, 0) },
      tags: inside.map((one) => [one.key, one.tag] as const),
    };
  };
}

/** Certain from the manifest and the listing alone: nothing needs to be started to know it. */
function refuseWithoutUsable(cases: readonly IngestCase[], missing: readonly MissingInput[]): void {
  const bad = new Map(missing.map((one) => [one.caseId, one.code]));
  const training = cases.filter((one) => one.split === "training");
  if (training.some((one) => !bad.has(one.caseId))) return;
  const without = (code: MissingInput["code"]) => training.filter((one) => bad.get(one.caseId) === code).length;
  throw new VoxelburstError(
    "NoUsableCase",
    `None of the ${training.length} training cases can be used: ${without("ImageMissing")} without their image, ${without("LabelMissing")} without a label.`,
    "Upload the files that dataset.json names, or correct its paths: they are relative to dataset.json.",
    { field: "training", got: "0 usable cases", allowed: "at least 1" },
  );
}

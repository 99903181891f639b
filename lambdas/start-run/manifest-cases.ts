// dataset.json in either form -> the one `dataset` document and a list of cases with the keys they name.
import type { z } from "zod";
import {
  type Dataset,
  type DecathlonManifest,
  decathlonManifest,
  type NnunetManifest,
  nnunetManifest,
  type ObjectInfo,
  parseOrThrow,
  VoxelburstError,
  caseId as validCaseId,
} from "../../lib/contracts/index.ts";

/** A case as the manifest names it, before anybody looked whether its objects exist. */
export interface ManifestCase {
  caseId: string;
  split: "training" | "test";
  /** One key a channel (or one for all of them), a folder without its trailing slash. */
  images: string[];
  /** Absent where the manifest names none: for a training case that is a fault of the case, not of the dataset. */
  label?: string;
  /** As a person wrote it: must be pseudonymised before it is kept anywhere. */
  patient?: string;
  class?: string;
  /** Where in dataset.json it stands, for errors. */
  field: string;
}

export interface ManifestContent {
  dataset: Dataset;
  cases: ManifestCase[];
}

const invalid = (sentence: string, remedy: string, details: { field: string; got?: string; allowed?: string }) =>
  new VoxelburstError("DatasetInvalid", sentence, remedy, details);

/**
 * @param document - the parsed dataset.json
 * @param listing - every object of the dataset: nnU-Net's form names cases by the files that are there
 * @throws VoxelburstError DatasetInvalid or CaseDuplicated, naming the field
 */
export function readManifest(document: unknown, listing: readonly ObjectInfo[], datasetName: string): ManifestContent {
  const isNnunet = document !== null && typeof document === "object" && "channel_names" in document;
  const content = isNnunet
    ? fromNnunet(parseManifest(nnunetManifest, document), listing, datasetName)
    : fromDecathlon(parseManifest(decathlonManifest, document), datasetName);
  refuseDuplicates(content.cases);
  return content;
}

/** parseOrThrow without the value of a field that may name a patient: patients, and the paths of their files. */
function parseManifest<T extends z.ZodType>(schema: T, document: unknown): z.infer<T> {
  try {
    return parseOrThrow(schema, document, "dataset.json", "DatasetInvalid");
  } catch (error) {
    if (!(error instanceof VoxelburstError)) throw error;
    const { field = "", got = "nothing", allowed = "" } = error.details;
    if (got === "nothing" || !/(^|\.)(patient|image|label|images|test)(\[\d+\])*$/.test(field)) throw error;
    throw invalid(
      `dataset.json: ${field} has a value that is not shown here, as it may name a patient; allowed: ${allowed}.`,
      error.remedy,
      { field, got: "not shown", allowed },
    );
  }
}

function fromDecathlon(manifest: DecathlonManifest, datasetName: string): ManifestContent {
  const channels = inOrder(manifest.modality, "modality").map(([, name]) => name);
  if (!manifest.labels && !manifest.classes)
    throw invalid(
      "dataset.json: labels is nothing; allowed: an object of label value to name, with background 0 and a structure.",
      "Add labels to dataset.json, or classes where whole volumes are to be told apart.",
      { field: "labels", got: "nothing", allowed: "an object of label value to name" },
    );
  const { classes } = manifest;
  const labels = classes ? [] : inOrder(manifest.labels!, "labels").map(([value, name]) => ({ value, name }));
  if (!classes) requireForeground(labels);
  if (manifest.numTraining !== undefined)
    refuseOtherCount(
      manifest.numTraining,
      manifest.training.length,
      `training lists ${manifest.training.length} cases`,
      "Complete the list training in dataset.json, or correct or remove numTraining.",
    );

  const cases = manifest.training.map((entry, position): ManifestCase => {
    const field = `training[${position}]`;
    const images = [entry.image].flat();
    return {
      caseId: entry.id ?? idOf(images, entry.label, position),
      split: "training",
      images: expectChannels(images, channels.length, `${field}.image`),
      // What a volume is as a whole needs no label: one that is named is not read.
      label: classes ? undefined : entry.label,
      patient: entry.patient,
      class: classes ? entry.class : undefined,
      field,
    };
  });
  const offset = cases.length;
  for (const [position, entry] of manifest.test.entries()) {
    const field = `test[${position}]`;
    const whole = typeof entry === "string" || Array.isArray(entry) ? { image: entry } : entry;
    const images = [whole.image].flat();
    cases.push({
      caseId: ("id" in whole ? whole.id : undefined) ?? idOf(images, undefined, offset + position),
      split: "test",
      images: expectChannels(images, channels.length, field),
      patient: "patient" in whole ? whole.patient : undefined,
      field,
    });
  }
  return {
    dataset: { name: manifest.name ?? datasetName, channels, labels, ...(classes && { classes }), ...about(manifest) },
    cases,
  };
}

function fromNnunet(manifest: NnunetManifest, listing: readonly ObjectInfo[], datasetName: string): ManifestContent {
  const channels = inOrder(manifest.channel_names, "channel_names").map(([, name]) => name);
  if ("ignore" in manifest.labels)
    throw invalid(
      "dataset.json: labels.ignore is a label to ignore; allowed: background and structures that are labelled everywhere.",
      "Remove the ignore label, or leave out the cases that need it.",
      { field: "labels.ignore" },
    );
  const byValue = Object.entries(manifest.labels).map(([name, value]) => [value, name] as const);
  const labels = consecutive(byValue, "labels").map(([value, name]) => ({ value, name }));
  requireForeground(labels);

  const cases = manifest.dataset
    ? Object.entries(manifest.dataset).map(
        ([caseId, entry]): ManifestCase => ({
          caseId,
          split: "training",
          images: expectChannels(entry.images, channels.length, `dataset.${caseId}.images`),
          label: entry.label,
          field: `dataset.${caseId}`,
        }),
      )
    : listedCases(listing, "training", manifest.file_ending, channels.length);
  refuseOtherCount(
    manifest.numTraining,
    cases.length,
    `${cases.length} training cases are there`,
    "Upload what is missing before dataset.json, or correct numTraining.",
  );
  const test = listedCases(listing, "test", manifest.file_ending, channels.length);
  return {
    dataset: { name: manifest.name ?? datasetName, channels, labels, ...about(manifest) },
    cases: [...cases, ...test],
  };
}

/** nnU-Net's folders: imagesTr/<id>_<channel>.nii.gz, labelsTr/<id>.nii.gz, imagesTs/<id>_<channel>.nii.gz. */
function listedCases(
  listing: readonly ObjectInfo[],
  split: "training" | "test",
  ending: string,
  channels: number,
): ManifestCase[] {
  const [imageFolder, labelFolder] = split === "training" ? ["imagesTr/", "labelsTr/"] : ["imagesTs/", undefined];
  const ids = new Set<string>();
  const labelled = new Set<string>();
  for (const { key } of listing) {
    if (!key.endsWith(ending)) continue;
    const stem = key.slice(0, -ending.length);
    if (stem.startsWith(imageFolder)) {
      const channel = /^(.+)_\d{4}$/.exec(stem.slice(imageFolder.length));
      if (channel) ids.add(channel[1]!);
    } else if (labelFolder && stem.startsWith(labelFolder)) {
      ids.add(stem.slice(labelFolder.length));
      labelled.add(stem.slice(labelFolder.length));
    }
  }
  return [...ids].sort().map((id, position): ManifestCase => {
    if (!validCaseId.safeParse(id).success)
      throw invalid(
        `${imageFolder}: the file of case ${position + 1} has a name that is no case id; allowed: 1 to 128 letters, digits, '.', '_' or '-'.`,
        "Rename the case's files, image and label alike.",
        { field: `${imageFolder}[${position}]`, allowed: "letters, digits, '.', '_' or '-'" },
      );
    return {
      caseId: id,
      split,
      images: Array.from(
        { length: channels },
        (_, channel) => `${imageFolder}${id}_${String(channel).padStart(4, "0")}${ending}`,
      ),
      label: labelled.has(id) ? `${labelFolder}${id}${ending}` : undefined,
      field: `${imageFolder}${id}`,
    };
  });
}

const NIFTI = /\.nii(\.gz)?$/i;
const stemOf = (key: string) => key.split("/").at(-1)!.replace(NIFTI, "");

/**
 * The name of a case that the manifest does not name: its NIfTI's stem, or its position for a DICOM folder, whose
 * name often is a patient's. nnU-Net's channel suffix is dropped where several channels or the label's name show it.
 */
function idOf(images: readonly string[], label: string | undefined, position: number): string {
  const first = images[0]!;
  const byPosition = `case-${String(position + 1).padStart(4, "0")}`;
  if (!NIFTI.test(first)) return byPosition;
  const stem = stemOf(first);
  const withoutChannel = stem.replace(/_0000$/, "");
  const isChannel = images.length > 1 || (label !== undefined && stemOf(label) === withoutChannel);
  const id = isChannel ? withoutChannel : stem;
  return validCaseId.safeParse(id).success ? id : byPosition;
}

/** Entries of an object whose names are the numbers 0, 1, 2 ... */
function inOrder(numbered: Record<string, string>, field: string): [number, string][] {
  return consecutive(
    Object.entries(numbered).map(([number, name]) => [Number(number), name] as const),
    field,
  );
}

function consecutive(entries: readonly (readonly [number, string])[], field: string): [number, string][] {
  const sorted = entries.map(([number, name]): [number, string] => [number, name]).sort(([a], [b]) => a - b);
  const numbers = sorted.map(([number]) => number);
  if (numbers.length === 0 || numbers.some((number, position) => number !== position))
    throw invalid(
      `dataset.json: ${field} has the values ${numbers.join(", ") || "(none)"}; allowed: consecutive from 0 on.`,
      `Number ${field} consecutively from 0${field === "labels" ? ", in dataset.json and in the label files" : ""}.`,
      { field, got: numbers.join(", "), allowed: "0, 1, 2 ..." },
    );
  return sorted;
}

/** A count that differs says that cases were lost, or that dataset.json is older than its cases. */
function refuseOtherCount(numTraining: number, cases: number, found: string, remedy: string): void {
  if (numTraining === cases) return;
  throw invalid(`dataset.json: numTraining is ${numTraining}, but ${found}; allowed: ${cases}.`, remedy, {
    field: "numTraining",
    got: String(numTraining),
    allowed: String(cases),
  });
}

function requireForeground(labels: readonly unknown[]): void {
  if (labels.length < 2)
    throw invalid(
      "dataset.json: labels has background alone; allowed: background 0 and at least one structure.",
      "Name the structures to segment in labels.",
      { field: "labels", got: "1 label", allowed: "at least 2 labels" },
    );
}

/** One image may hold all channels (a 4D NIfTI): ingest looks inside. Several must be one a channel. */
function expectChannels(images: string[], channels: number, field: string): string[] {
  if (images.length !== 1 && images.length !== channels)
    throw invalid(
      `dataset.json: ${field} has ${images.length} files; allowed: ${channels}, one a channel${channels > 1 ? ", or 1 with all of them" : ""}.`,
      `Name one file a channel in ${field}, in the order of the channels.`,
      { field, got: `${images.length} files`, allowed: `${channels}` },
    );
  return images;
}

function about(manifest: DecathlonManifest | NnunetManifest): Pick<Dataset, "reference" | "licence"> {
  const reference = [manifest.reference ?? []].flat().join("; ");
  const licence = manifest.licence ?? manifest.license;
  return { ...(reference ? { reference } : {}), ...(licence ? { licence } : {}) };
}

function refuseDuplicates(cases: readonly ManifestCase[]): void {
  const ids = new Map<string, ManifestCase>();
  const images = new Map<string, ManifestCase>();
  for (const entry of cases) {
    const sameId = ids.get(entry.caseId);
    if (sameId)
      throw new VoxelburstError(
        "CaseDuplicated",
        `dataset.json: ${sameId.field} and ${entry.field} are both case ${entry.caseId}; allowed: each case once.`,
        "Give each case an id of its own, or remove one of the two entries.",
        { field: entry.field, got: entry.caseId, caseId: entry.caseId },
      );
    ids.set(entry.caseId, entry);
    const sameImage = images.get(entry.images[0]!);
    if (sameImage)
      throw new VoxelburstError(
        "CaseDuplicated",
        `dataset.json: cases ${sameImage.caseId} and ${entry.caseId} name the same image; allowed: an image in one case.`,
        "Remove one of the two entries: a copy in another fold would make Dice look better than it is.",
        { field: `${entry.field}.image`, caseId: entry.caseId },
      );
    images.set(entry.images[0]!, entry);
  }
}

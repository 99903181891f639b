// Finds a folder's images and the labels that belong to them, by the names that people give them.
import { readdirSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import { caseId, VoxelburstError } from "../contracts/index.ts";
import { isDicom, isNifti, withoutNifti } from "./nifti-values.ts";

export interface PairedCase {
  id: string;
  /** Whether the id comes from a file's name; ids of folders' names are replaced, as those often are patients'. */
  isNamedByFile: boolean;
  /** Relative to the folder, one a channel. */
  images: string[];
  label?: string;
}

/** Every image and label is in one of them, by its name relative to the folder. */
export interface Pairing {
  training: PairedCase[];
  /** Images in a folder that is named like a test split. */
  test: PairedCase[];
  unpairedImages: string[];
  unpairedLabels: string[];
}

/** "liver_01_seg", "liver_01-mask", "liver_01.label" ... */
const LABEL_SUFFIX = /[_.-](seg|segmentation|label|labels|mask|masks|gt|groundtruth|manual)$/i;
const LABEL_NAME = /^(seg|segmentation|label|labels|mask|gt|groundtruth)$/i;
const IMAGE_NAME = /^(image|img|ct|mr|mri|t1|volume|data)$/i;
const IMAGE_SUFFIX = /[_.-](image|img|ct|mr|mri|volume)$/i;
/** "imagesTr", "train_images", "scans", "labels", "masks_val" ... */
const ROLE_FOLDER =
  /^(?:(train|training|val|validation|test|testing)[_-]?)?(?:(images?|imgs?|volumes?|scans?|data|cts?|mrs?|mri|dicoms?|niftis?)|labels?|masks?|segs?|segmentations?|gt|groundtruth|annotations?)(?:[_-]?(tr|train|training|va|val|validation|ts|test|testing))?$/i;
const TEST_FOLDER = /^test(s|ing|[_-]?(set|split|cases|data))?$/i;
const CHANNEL = /_(\d{4})$/;

/** A NIfTI file or a folder of DICOM. */
export interface Entry {
  /** Relative to the dataset. */
  key: string;
  stem: string;
  /** Names of the folders above it, outermost first. */
  folders: string[];
  isFolder: boolean;
}

interface Name {
  /** Folders, without those that say "images" or "labels", and the file's own name: of a label and its image equal. */
  name: string;
  /** The file's own part of it. Absent where a folder names the case. */
  id?: string;
}
interface Claim extends Name {
  image: Entry;
  isChannel: boolean;
  /** Of this name. */
  labels: Entry[];
}

/** One image, or the channels of one. */
interface Group {
  id?: string;
  isChannels: boolean;
  images: Entry[];
  label?: string;
}

/** Pairs the NIfTI files and DICOM folders of a folder. @throws VoxelburstError PairingAmbiguous */
export const pairCases = (folder: string): Pairing => pairEntries([...entriesOf(folder)]);

/**
 * An image and its label have the same name in the same place, folders such as images and labels aside. Files are
 * channels of one case only in one folder and under names that differ by nnU-Net's _0000, _0001 ... alone; such a
 * number is part of the name where the label has it too.
 *
 * @throws VoxelburstError PairingAmbiguous with the files' names
 */
export function pairEntries(entries: readonly Entry[]): Pairing {
  const labels = entries.filter(isLabel);
  const byName = Map.groupBy(
    labels.filter((entry) => !isTest(entry)),
    (entry) => labelName(entry),
  );
  const images = entries.filter((entry) => !isLabel(entry));

  const claims: Claim[] = [];
  const unpairedImages: Entry[] = [];
  for (const image of images.filter((entry) => !isTest(entry))) {
    const claim = claimsOf(image, byName).find((one) => one.labels.length > 0);
    if (claim) claims.push(claim);
    else unpairedImages.push(image);
  }
  const byLabels = Map.groupBy(claims, ({ labels }) => labels.map(({ key }) => key).join("\n"));
  const training = [...byLabels.values()].map(labelled);
  const test = testGroups(images.filter(isTest), training);
  refuseOtherChannels(training, test);

  const used = new Set(training.map((group) => group.label));
  const keysOf = (some: readonly Entry[]) => some.map(({ key }) => key).sort();
  return {
    ...named(training, test),
    unpairedImages: keysOf(unpairedImages),
    unpairedLabels: keysOf(labels.filter(({ key }) => !used.has(key))),
  };
}

const roleOf = (folder: string) => {
  const match = ROLE_FOLDER.exec(folder);
  const split = (match?.[1] ?? match?.[3] ?? "").toLowerCase();
  return {
    role: match && (match[2] ? "image" : "label"),
    isTest: split.startsWith("t") && !split.startsWith("tr"),
    isValidation: split.startsWith("v"),
  };
};
const isTest = ({ folders, stem, isFolder }: Entry) =>
  [...folders, ...(isFolder ? [stem] : [])].some((name) => TEST_FOLDER.test(name) || roleOf(name).isTest);
const isInLabels = ({ folders, stem, isFolder }: Entry) =>
  [...folders, ...(isFolder ? [stem] : [])].some((name) => roleOf(name).role === "label");
const isLabel = (entry: Entry) => isInLabels(entry) || LABEL_SUFFIX.test(entry.stem) || LABEL_NAME.test(entry.stem);

/** A label in no folder for labels is beside its image, or above its folder: mr/a_seg is no label of ct/a. */
const mayBelong = (label: Entry, image: Entry) =>
  isInLabels(label) || `/${image.key}/`.startsWith(["", ...label.folders, ""].join("/"));

const labelName = (entry: Entry) => nameOf(entry, entry.stem.replace(LABEL_SUFFIX, "")).name;

/** "images/liver_01.nii.gz" is liver_01; "liver_01/image.nii.gz" is liver_01 too. */
function nameOf({ folders, isFolder }: Entry, stem: string): Name {
  const place = folders.flatMap((name) => {
    const { role, isValidation } = roleOf(name);
    return role ? (isValidation ? ["val"] : []) : [name];
  });
  const isNameOfPart = IMAGE_NAME.test(stem) || LABEL_NAME.test(stem) || (isFolder && roleOf(stem).role);
  if (isNameOfPart) return { name: place.join("/") };
  return { name: [...place, stem].join("/"), ...(isFolder ? {} : { id: stem }) };
}

/** What an image may be named, the closest first. */
function claimsOf(image: Entry, labels: ReadonlyMap<string, Entry[]>): Claim[] {
  const claim = (stem: string, isChannel: boolean): Claim => {
    const named = nameOf(image, stem);
    const own = (labels.get(named.name) ?? []).filter((label) => mayBelong(label, image));
    return { ...named, image, isChannel, labels: own };
  };
  const shortened = (stem: string) => [stem, stem.replace(IMAGE_SUFFIX, "")];
  const { stem } = image;
  return [
    ...shortened(stem).map((name) => claim(name, false)),
    ...(CHANNEL.test(stem) ? shortened(stem.replace(CHANNEL, "")).map((name) => claim(name, true)) : []),
  ];
}

function labelled(claims: readonly Claim[]): Group {
  const images = claims.map(({ image }) => image);
  const { labels } = claims[0]!;
  if (labels.length > 1) throw ambiguous("These are labels of one case", labels);
  const isChannels = claims.every(({ isChannel }) => isChannel);
  if (images.length > 1 && !isChannels) throw ambiguous("These are images of one label", images);
  return { id: claims[0]!.id, isChannels, images: isChannels ? inOrder(images) : images, label: labels[0]!.key };
}

/**
 * The images to predict. No label says what a number at the end of their names is: it is a channel's where there is a
 * _0000, unless those to train on have such numbers in their own names.
 */
function testGroups(images: readonly Entry[], training: readonly Group[]): Group[] {
  const isPartOfNames =
    training.some((group) => !group.isChannels && CHANNEL.test(group.images[0]!.stem)) &&
    !training.some((group) => group.isChannels);
  const idOf = (image: Entry, at: number) => claimsOf(image, new Map()).at(at)!.id;
  const groups = Map.groupBy(images, (image) => variantsOf(image));
  return [...groups.values()].flatMap((parts): Group[] => {
    const isChannels = !isPartOfNames && parts.some(({ stem }) => stem.endsWith("_0000"));
    if (!isChannels) return parts.map((image) => ({ id: idOf(image, 1), isChannels: false, images: [image] }));
    return [{ id: idOf(parts[0]!, -1), isChannels, images: inOrder(parts) }];
  });
}

/** Files that differ by the number of a channel alone have the same. */
const variantsOf = ({ key, stem, folders }: Entry) =>
  [...folders, stem.replace(CHANNEL, "_0000")].join("/") + key.slice([...folders, stem].join("/").length);

/** Channels 0000, 0001 ... of one case. @throws VoxelburstError PairingAmbiguous */
function inOrder(images: readonly Entry[]): Entry[] {
  const number = ({ stem }: Entry) => Number(CHANNEL.exec(stem)![1]);
  const sorted = images.toSorted((a, b) => number(a) - number(b));
  if (new Set(images.map(variantsOf)).size > 1 || sorted.some((image, index) => number(image) !== index))
    throw ambiguous(
      "These are channels of one case, but not in one folder with the numbers 0000, 0001 ... once each",
      sorted,
    );
  return sorted;
}

/** dataset.json has one list of channels for all cases. */
function refuseOtherChannels(training: readonly Group[], test: readonly Group[]): void {
  const channels = Math.max(...training.map(({ images }) => images.length));
  if (training.length === 0) return;
  const other = [...training, ...test].filter(({ images }) => images.length !== channels);
  if (other.length > 0)
    throw ambiguous(
      `Other cases have ${channels} ${channels === 1 ? "channel" : "channels"}, these have more or fewer`,
      other.flatMap(({ images }) => images),
    );
}

/** An error lists no more names than this. */
const NAMES_SHOWN = 12;

function ambiguous(what: string, entries: readonly Entry[]): VoxelburstError {
  const names = entries.slice(0, NAMES_SHOWN).map(({ key }) => key);
  const more = entries.length > NAMES_SHOWN ? ` and ${entries.length - NAMES_SHOWN} more` : "";
  return new VoxelburstError(
    "PairingAmbiguous",
    `${what}: ${names.join(", ")}${more}.`,
    "Give each case one label, and one image or files in one folder that differ by _0000, _0001 ... alone; move other files out of the dataset's folder.",
    { got: names.join(", "), allowed: "one image, or the channels _0000, _0001 ... in one folder, to one label" },
  );
}

/** Cases with their ids: of files' names where those are valid and of one case only; else neutral. */
function named(training: readonly Group[], test: readonly Group[]): Pick<Pairing, "training" | "test"> {
  const inOrderOfKeys = (groups: readonly Group[]) =>
    groups.toSorted((a, b) => (a.images[0]!.key < b.images[0]!.key ? -1 : 1));
  const groups = [...inOrderOfKeys(training), ...inOrderOfKeys(test)];
  const known = { training: Map.groupBy(training, ({ id }) => id), test: Map.groupBy(test, ({ id }) => id) };
  const ids = groups.map(({ id, label }) => {
    const isOne =
      label === undefined
        ? !known.training.has(id) && known.test.get(id)!.length === 1
        : known.training.get(id)!.length === 1;
    return isOne && caseId.safeParse(id).success ? id : undefined;
  });
  const taken = new Set(ids);
  const cases = groups.map(
    ({ images, label }, index): PairedCase => ({
      id: ids[index] ?? neutralId(index, taken, groups.length),
      isNamedByFile: ids[index] !== undefined,
      images: images.map(({ key }) => key),
      ...(label === undefined ? {} : { label }),
    }),
  );
  return { training: cases.slice(0, training.length), test: cases.slice(training.length) };
}

/** By position, or behind all positions where a file has that very name. */
function neutralId(index: number, taken: Set<string | undefined>, cases: number): string {
  const at = (position: number) => `case-${String(position).padStart(4, "0")}`;
  let position = index + 1;
  while (taken.has(at(position))) position = Math.max(position, cases) + 1;
  taken.add(at(position));
  return at(position);
}

export function niftiAt(key: string): Entry {
  const names = key.split("/");
  return { key, stem: withoutNifti(names.at(-1)!), folders: names.slice(0, -1), isFolder: false };
}

/** @param above - real paths of the folders above: a link may lead back to one of them */
function* entriesOf(folder: string, folders: string[] = [], above: string[] = []): Generator<Entry> {
  const here = realpathSync(path.join(folder, ...folders));
  if (above.includes(here)) return;
  const names = readdirSync(here).filter((name) => !name.startsWith("."));
  const key = (name: string) => [...folders, name].join("/");
  let hasDicom = false;
  for (const name of names.sort()) {
    const at = path.join(here, name);
    const stat = statSync(at, { throwIfNoEntry: false });
    if (stat?.isDirectory()) yield* entriesOf(folder, [...folders, name], [...above, here]);
    else if (isNifti(name)) yield niftiAt(key(name));
    else if (!hasDicom && stat?.isFile() && folders.length > 0) hasDicom = /\.(dcm|ima)$/i.test(name) || isDicom(at);
  }
  if (hasDicom) yield { key: folders.join("/"), stem: folders.at(-1)!, folders: folders.slice(0, -1), isFolder: true };
}

// Finds a folder's images and the labels that belong to them, by the names that people give them.
import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { isDicom } from "./nifti-values.ts";

export interface PairedCase {
  id: string;
  /** Relative to the folder, one a channel. */
  images: string[];
  label?: string;
}

export interface Pairing {
  training: PairedCase[];
  test: PairedCase[];
  /** Labels without an image. */
  unpaired: string[];
}

const NIFTI = /\.nii(\.gz)?$/i;
/** "liver_01_seg", "liver_01-mask", "liver_01.label" ... */
const LABEL_SUFFIX = /[_.-](seg|segmentation|label|labels|mask|masks|gt|groundtruth|manual)$/i;
const LABEL_NAME = /^(seg|segmentation|label|labels|mask|gt|groundtruth)$/i;
const IMAGE_NAME = /^(image|img|ct|mr|mri|t1|volume|data)$/i;
const IMAGE_SUFFIX = /[_.-](image|img|ct|mr|mri|volume)$/i;
const LABEL_FOLDER = /^(labels?(tr)?|masks?|segs?|segmentations?|gt|groundtruth|annotations?)$/i;
const TEST_FOLDER = /^(imagests|test|images?_?test)$/i;
const CHANNEL = /_(\d{4})$/;

interface Image {
  /** Name of the case that the path stands for. */
  id: string;
  channel: number;
  key: string;
  isTest: boolean;
}

/** NIfTI files and DICOM folders of a folder, paired. */
export function pairCases(folder: string): Pairing {
  const images: Image[] = [];
  const labels = new Map<string, string>();
  for (const entry of entriesOf(folder)) {
    const isLabel =
      entry.folders.some((name) => LABEL_FOLDER.test(name)) ||
      LABEL_SUFFIX.test(entry.stem) ||
      LABEL_NAME.test(entry.stem);
    if (isLabel) labels.set(idOf(entry).replace(LABEL_SUFFIX, ""), entry.key);
    else
      images.push({
        id: idOf(entry).replace(CHANNEL, "").replace(IMAGE_SUFFIX, ""),
        channel: Number(CHANNEL.exec(entry.stem)?.[1] ?? 0),
        key: entry.key,
        isTest: entry.folders.some((name) => TEST_FOLDER.test(name)),
      });
  }
  const byId = Map.groupBy(images, (image) => image.id);
  const cases = [...byId].map(([id, parts]): PairedCase & { isTest: boolean } => ({
    id,
    images: parts.sort((a, b) => a.channel - b.channel).map((part) => part.key),
    label: labels.get(id),
    isTest: parts[0]!.isTest,
  }));
  cases.sort((a, b) => (a.id < b.id ? -1 : 1));
  const strip = ({ isTest: _isTest, ...one }: (typeof cases)[number]): PairedCase => one;
  return {
    training: cases.filter((one) => one.label !== undefined).map(strip),
    test: cases.filter((one) => one.label === undefined).map(strip),
    unpaired: [...labels].filter(([id]) => !byId.has(id)).map(([, key]) => key),
  };
}

interface Entry {
  key: string;
  stem: string;
  /** Names of the folders above it, outermost first. */
  folders: string[];
}

/** "images/liver_01.nii.gz" is liver_01; "liver_01/image.nii.gz" is liver_01 too. */
function idOf({ stem, folders }: Entry): string {
  const isNameOfPart = IMAGE_NAME.test(stem.replace(CHANNEL, "")) || LABEL_NAME.test(stem);
  return isNameOfPart && folders.length > 0 ? folders.at(-1)! : stem;
}

/** NIfTI files, and folders that hold DICOM files, at most four levels down. */
function* entriesOf(folder: string, folders: string[] = []): Generator<Entry> {
  if (folders.length > 4) return;
  const names = readdirSync(path.join(folder, ...folders)).filter((name) => !name.startsWith("."));
  const key = (name: string) => [...folders, name].join("/");
  let hasDicom = false;
  for (const name of names.sort()) {
    const at = path.join(folder, ...folders, name);
    const stat = statSync(at, { throwIfNoEntry: false });
    if (stat?.isDirectory()) yield* entriesOf(folder, [...folders, name]);
    else if (NIFTI.test(name)) yield { key: key(name), stem: name.replace(NIFTI, ""), folders };
    else if (!hasDicom && stat?.isFile() && folders.length > 0) hasDicom = /\.(dcm|ima)$/i.test(name) || isDicom(at);
  }
  if (hasDicom) yield { key: folders.join("/"), stem: folders.at(-1)!, folders: folders.slice(0, -1) };
}

// The values in a NIfTI file, for `init`: which labels there are, whether an image looks like CT. Ingest checks for real.
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { gunzipSync } from "node:zlib";

type Reader = (view: DataView, offset: number, little: boolean) => number;

/** NIfTI-1's datatype codes. */
const READERS: Readonly<Record<number, { bytes: number; read: Reader }>> = {
  2: { bytes: 1, read: (v, o) => v.getUint8(o) },
  4: { bytes: 2, read: (v, o, l) => v.getInt16(o, l) },
  8: { bytes: 4, read: (v, o, l) => v.getInt32(o, l) },
  16: { bytes: 4, read: (v, o, l) => v.getFloat32(o, l) },
  64: { bytes: 8, read: (v, o, l) => v.getFloat64(o, l) },
  256: { bytes: 1, read: (v, o) => v.getInt8(o) },
  512: { bytes: 2, read: (v, o, l) => v.getUint16(o, l) },
  768: { bytes: 4, read: (v, o, l) => v.getUint32(o, l) },
};

/** More values than this is an image, not a label. */
const MOST_VALUES = 256;
/** Files above it are not looked into: `init` is to be quick, and a person corrects what it writes. */
const MOST_BYTES = 256 * 2 ** 20;

const NIFTI = /\.nii(\.gz)?$/i;
/** By its name. */
export const isNifti = (name: string): boolean => NIFTI.test(name);
export const withoutNifti = (name: string): string => name.replace(NIFTI, "");

/** The voxels of a NIfTI-1 file, scaled; undefined for anything else. */
function* voxelsOf(file: string): Generator<number> {
  const bytes = contentOf(file);
  if (!bytes || bytes.length < 352) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = view.getInt32(0, true) === 348;
  if (!little && view.getInt32(0, false) !== 348) return;
  const reader = READERS[view.getInt16(70, little)];
  if (!reader) return;
  const start = Math.floor(view.getFloat32(108, little));
  const slope = view.getFloat32(112, little);
  const intercept = view.getFloat32(116, little);
  const isScaled = Number.isFinite(slope) && slope !== 0;
  for (let at = start; at + reader.bytes <= bytes.length; at += reader.bytes) {
    const raw = reader.read(view, at, little);
    yield isScaled ? raw * slope + intercept : raw;
  }
}

function contentOf(file: string): Uint8Array | undefined {
  try {
    const content = readFileSync(file);
    if (content.length > MOST_BYTES) return undefined;
    return content[0] === 0x1f && content[1] === 0x8b
      ? gunzipSync(content, { maxOutputLength: 4 * MOST_BYTES })
      : content;
  } catch {
    return undefined; // unreadable, truncated, or far larger than its file: ingest will say so
  }
}

/** Ascending; undefined when the file cannot be read or holds no labels. */
export function labelValues(file: string): number[] | undefined {
  const values = new Set<number>();
  let last: number | undefined;
  for (const value of voxelsOf(file)) {
    if (value === last) continue;
    last = value;
    values.add(value);
    if (values.size > MOST_VALUES) return undefined;
  }
  return values.size > 0 ? [...values].sort((a, b) => a - b) : undefined;
}

/** Air is at -1000 HU in a CT; no MR is that far below zero. */
export function looksLikeCt(file: string): boolean {
  for (const value of voxelsOf(file)) if (value < -300) return true;
  return false;
}

/** Whether a file is DICOM, by its magic word. */
export function isDicom(file: string): boolean {
  const descriptor = openSync(file, "r");
  try {
    const head = Buffer.alloc(132);
    return readSync(descriptor, head, 0, 132, 0) === 132 && head.toString("latin1", 128) === "DICM";
  } finally {
    closeSync(descriptor);
  }
}

// How long a child of ingest may take on AWS, from the manifest and the listing alone.
import type { IngestCase } from "../../lib/contracts/index.ts";

/**
 * Calibrated, a million voxels take 0.05 s of a core and a case 6 ms; a megabyte of compressed CT holds up to four
 * million voxels, so a megabyte is at most 0.2 s, and 0.02 s more to fetch at 50 MB/s. Five times that, and half a
 * minute a case for what has nothing to do with its size: only a child that hangs is stopped.
 */
const SECONDS_PER_MEGABYTE = 1;
const SECONDS_PER_CASE = 30;
/** The container, its libraries, its task document, and S3 on a bad day. */
const START_SECONDS = 600;

/** The child with the most bytes counts: cases are dealt out by their position. */
export function ingestSeconds(cases: readonly IngestCase[], shards: number): number {
  const children = Array.from({ length: shards }, () => ({ cases: 0, bytes: 0 }));
  for (const [position, { images, label }] of cases.entries()) {
    const child = children[position % shards]!;
    child.cases++;
    child.bytes += images.reduce((sum, image) => sum + image.bytes, label?.bytes ?? 0);
  }
  const seconds = children.map((child) => SECONDS_PER_CASE * child.cases + (SECONDS_PER_MEGABYTE * child.bytes) / 1e6);
  return Math.ceil(START_SECONDS + Math.max(...seconds));
}

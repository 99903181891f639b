// What ingest needs, from the manifest alone: it runs before anything knows the volumes' shapes.
import type { IngestCase } from "../contracts/index.ts";

/** Python with numpy, nibabel and pydicom loaded. */
const PROCESS_MIB = 250;
/**
 * Bytes of memory for each byte of an image's file. A CT of 12-bit values compresses to about a half, so that a byte of
 * file is about one voxel of two bytes; reading, reorienting and the fingerprint hold up to four float32 copies of it.
 */
const MEMORY_PER_FILE_BYTE = 20;

/** MiB of the largest case: children are run side by side only as far as memory lasts. */
export function ingestMemoryMiB(cases: readonly IngestCase[]): number {
  const largest = cases.reduce(
    (most, one) =>
      Math.max(
        most,
        one.images.reduce((sum, image) => sum + image.bytes, 0),
      ),
    0,
  );
  return Math.ceil(PROCESS_MIB + (largest * MEMORY_PER_FILE_BYTE) / 2 ** 20);
}

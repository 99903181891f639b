// The key of the keyed hash of patients: made once, kept beside the store and never in it.
import { randomBytes } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { VoxelburstError } from "../contracts/index.ts";
import { diskError, isMissing, isPresent } from "./disk-error.ts";

const KEY_BYTES = 32;

/**
 * The key as text, in a file that only this user may read; the file is made when there is none. Ingest gets the same
 * text in VOXELBURST_PSEUDONYM_KEY, so that a patient has one pseudonym whether dataset.json or a DICOM header names it.
 */
export function pseudonymKeyAt(file: string): string {
  for (;;) {
    try {
      const key = readFileSync(file, "utf8").trim();
      if (/^[0-9a-f]{64}$/.test(key)) return key;
      throw new VoxelburstError(
        "PseudonymKeyInvalid",
        "The key that hides patients' names is damaged.",
        "Restore pseudonym.key in .voxelburst from a backup; without it, remove it and let every case be ingested again.",
      );
    } catch (error) {
      if (!isMissing(error)) throw diskError(error, "the run's data");
    }
    make(file);
  }
}

/** Complete or not at all, and the first of several makers wins. */
function make(file: string): void {
  const staged = `${file}.${process.pid}`;
  try {
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(staged, `${randomBytes(KEY_BYTES).toString("hex")}\n`, { mode: 0o600 });
    linkSync(staged, file);
  } catch (error) {
    if (!isPresent(error)) throw diskError(error, "the run's data");
  } finally {
    try {
      unlinkSync(staged);
    } catch {
      // It was never written.
    }
  }
}

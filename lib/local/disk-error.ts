// What the disk refuses, as an error that a person can act on.
import { VoxelburstError } from "../contracts/index.ts";

const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;

export const isMissing = (error: unknown): boolean => ["ENOENT", "ENOTDIR"].includes(codeOf(error) ?? "");
export const isPresent = (error: unknown): boolean => codeOf(error) === "EEXIST";

/** The codes of a disk that takes nothing more, whoever met it. */
export const DISK_CODES: readonly string[] = ["DiskFull", "DiskReadOnly"];

/** Of this machine, not of a task: the run can go on where it was once that is mended. */
export const isDiskError = (error: unknown): error is VoxelburstError =>
  error instanceof VoxelburstError && DISK_CODES.includes(error.code);

/**
 * The coded error for a full disk, a read-only one or a lack of permission; anything else is returned as it is.
 *
 * @param what - "the run's data", never a path: a path may name a patient
 */
export function diskError(error: unknown, what: string): unknown {
  switch (codeOf(error)) {
    case "ENOSPC":
    case "EDQUOT":
      return new VoxelburstError(
        "DiskFull",
        `The disk that holds ${what} is full, or its quota is used up.`,
        "Free some space, or set VOXELBURST_HOME to a folder on a larger disk, and resume the run.",
        { cause: error },
      );
    case "EROFS":
      return new VoxelburstError(
        "DiskReadOnly",
        `The disk that holds ${what} is mounted read-only.`,
        "Set VOXELBURST_HOME to a folder that can be written.",
        { cause: error },
      );
    case "EACCES":
    case "EPERM":
      return new VoxelburstError(
        "PermissionDenied",
        `This user may not read or write ${what}.`,
        "Change the permissions, or start as the user who owns it.",
        { cause: error },
      );
    default:
      return error;
  }
}

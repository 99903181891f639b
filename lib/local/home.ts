// Where voxelburst keeps everything on one machine: the only place that knows the layout of .voxelburst/.
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** The checkout: package.json, .venv and containers/ are here. */
export const checkout = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

/** A folder's file:// URI; it ends in a slash. */
export const folderUri = (folder: string): string => `${pathToFileURL(path.resolve(folder)).href.replace(/\/$/, "")}/`;

export interface Home {
  folder: string;
  artefacts: string;
  quarantine: string;
  artefactsUri: string;
  quarantineUri: string;
  runs: string;
  cache: string;
  pseudonymKey: string;
}

/**
 * The .voxelburst folder of the working directory: that of VOXELBURST_HOME, else the nearest one above (as git finds
 * .git), else a new one here.
 */
export function findHome(
  workingDirectory = process.cwd(),
  environment: Record<string, string | undefined> = process.env,
): Home {
  return homeAt(environment.VOXELBURST_HOME ? path.resolve(environment.VOXELBURST_HOME) : nearest(workingDirectory));
}

function nearest(workingDirectory: string): string {
  for (let at = path.resolve(workingDirectory); ; at = path.dirname(at)) {
    const candidate = path.join(at, ".voxelburst");
    if (existsSync(candidate)) return candidate;
    if (at === path.dirname(at)) return path.join(path.resolve(workingDirectory), ".voxelburst");
  }
}

export function homeAt(folder: string): Home {
  const artefacts = path.join(folder, "store", "artefacts");
  const quarantine = path.join(folder, "store", "quarantine");
  return {
    folder,
    artefacts,
    quarantine,
    artefactsUri: folderUri(artefacts),
    quarantineUri: folderUri(quarantine),
    runs: path.join(folder, "runs"),
    cache: path.join(folder, "cache"),
    pseudonymKey: path.join(folder, "pseudonym.key"),
  };
}

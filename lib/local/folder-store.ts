// ObjectStore on folders, by file:// URI. A put is atomic, a conditional put exclusive; nothing else is promised.
import { randomBytes } from "node:crypto";
import { link, mkdir, open, readdir, readFile, realpath, rename, stat, unlink } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type ObjectInfo, type ObjectStore, VoxelburstError } from "../contracts/index.ts";
import { ContentTags } from "./content-tags.ts";
import { diskError, isMissing, isPresent } from "./disk-error.ts";

const WHAT = "the dataset or the run's data";
/** Reads wait on the disk, hashing on the processor: a few at a time keep both busy. */
const FILES_AT_ONCE = 4;

/** @throws VoxelburstError UriInvalid for what is no file:// URI of this machine */
export function pathOf(uri: string): string {
  try {
    return fileURLToPath(uri);
  } catch (cause) {
    throw new VoxelburstError(
      "UriInvalid",
      "An object's address is not a file:// URI of this machine.",
      "Start the run with a folder of this machine.",
      { got: uri.split(":")[0], allowed: "file:///...", cause },
    );
  }
}

export class FolderStore implements ObjectStore {
  private readonly tags: ContentTags;

  constructor(tags = new ContentTags()) {
    this.tags = tags;
  }

  async get(uri: string): Promise<Uint8Array | undefined> {
    try {
      return await readFile(pathOf(uri));
    } catch (error) {
      if (isMissing(error) || (error as NodeJS.ErrnoException).code === "EISDIR") return undefined;
      throw diskError(error, WHAT);
    }
  }

  async exists(uri: string): Promise<boolean> {
    try {
      return (await stat(pathOf(uri))).isFile();
    } catch (error) {
      if (isMissing(error)) return false;
      throw diskError(error, WHAT);
    }
  }

  async put(uri: string, body: Uint8Array | string, options: { ifAbsent?: boolean } = {}): Promise<boolean> {
    const target = pathOf(uri);
    const staged = path.join(path.dirname(target), `.write-${process.pid}-${randomBytes(6).toString("hex")}`);
    try {
      await mkdir(path.dirname(target), { recursive: true });
      const handle = await open(staged, "wx", 0o644);
      try {
        await handle.writeFile(body);
        await handle.sync();
      } finally {
        await handle.close();
      }
      if (!options.ifAbsent) {
        await rename(staged, target);
        return true;
      }
      // A link fails where the target exists, so that of several writers exactly one succeeds.
      await link(staged, target);
      return true;
    } catch (error) {
      if (options.ifAbsent && isPresent(error)) return false;
      throw diskError(error, WHAT);
    } finally {
      await unlink(staged).catch(() => undefined);
    }
  }

  /**
   * Files below a prefix, links followed. Names that start with a dot are no objects: they are a writer's unfinished
   * files, .git, or this very .voxelburst inside a dataset's folder.
   */
  async list(prefixUri: string): Promise<ObjectInfo[]> {
    const prefix = pathOf(prefixUri);
    const isFolder = prefixUri.endsWith("/");
    const folder = isFolder ? prefix : path.dirname(prefix);
    const start = isFolder ? "" : path.basename(prefix);
    try {
      const keys = (await filesBelow(folder, "", [])).filter((key) => key.startsWith(start)).sort();
      const objects = new Array<ObjectInfo>(keys.length);
      let next = 0;
      const work = async () => {
        for (let index = next++; index < keys.length; index = next++) {
          const key = keys[index]!;
          objects[index] = { key: key.slice(start.length), ...(await this.tags.tagOf(path.join(folder, key))) };
        }
      };
      await Promise.all(Array.from({ length: FILES_AT_ONCE }, work));
      this.tags.save();
      return objects;
    } catch (error) {
      throw diskError(error, "the files of the dataset");
    }
  }
}

/** Keys of the files below a prefix that ends in a slash, in ascending order, without looking into them. */
export const keysBelow = async (prefixUri: string): Promise<string[]> =>
  (await filesBelow(pathOf(prefixUri), "", [])).sort();

/** @param above - real paths of the folders on the way here: a link back to one of them is not followed */
async function filesBelow(folder: string, prefix: string, above: readonly string[]): Promise<string[]> {
  let real: string;
  try {
    real = await realpath(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
  if (above.includes(real)) return [];
  const keys: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name.startsWith(".")) continue;
    const at = path.join(folder, entry.name);
    const kind = entry.isSymbolicLink() ? await stat(at).catch(() => undefined) : entry;
    if (kind?.isDirectory()) keys.push(...(await filesBelow(at, `${prefix}${entry.name}/`, [...above, real])));
    else if (kind?.isFile()) keys.push(`${prefix}${entry.name}`);
  }
  return keys;
}

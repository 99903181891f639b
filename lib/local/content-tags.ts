// SHA-256 of files, remembered by what the file system says of them, so that a second look at a dataset is instant.
import { createHash } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { open, stat } from "node:fs/promises";
import path from "node:path";
import type { Clock } from "../contracts/index.ts";
import { diskError, isMissing } from "./disk-error.ts";

/**
 * A file that was written to within this time of being read may change again without its times changing: coarse clocks
 * tick every 10 ms, network file systems every second.
 */
const SETTLED_MS = 2000;
const READ_BYTES = 1 << 20;

export class ContentTags {
  private readonly file: string | undefined;
  private readonly clock: Clock;
  private known: Map<string, string> | undefined;
  private fresh: string[] = [];

  /** @param file - where the tags are remembered; undefined: nowhere */
  constructor(file?: string, clock: Clock = { now: () => new Date() }) {
    this.file = file;
    this.clock = clock;
  }

  /** @returns sha256:<hex> and the size of the file at a path */
  async tagOf(filePath: string): Promise<{ tag: string; bytes: number }> {
    const before = await stat(filePath, { bigint: true });
    // The change time too: it cannot be set back by `cp -p` or `touch`.
    const identity = [before.dev, before.ino, before.size, before.mtimeNs, before.ctimeNs].join(":");
    const known = this.load().get(identity);
    if (known) return { tag: `sha256:${known}`, bytes: Number(before.size) };
    const { hex, bytes } = await hashFile(filePath);
    const settled = this.clock.now().getTime() - Number(before.ctimeMs) > SETTLED_MS;
    if (settled && bytes === Number(before.size)) {
      this.load().set(identity, hex);
      this.fresh.push(`${identity} ${hex}\n`);
    }
    return { tag: `sha256:${hex}`, bytes };
  }

  /** Writes what is new; losing it costs only time. */
  save(): void {
    if (!this.file || this.fresh.length === 0) return;
    try {
      mkdirSync(path.dirname(this.file), { recursive: true });
      // A torn last line of a killed process must not swallow the first new one.
      appendFileSync(this.file, `\n${this.fresh.join("")}`);
      this.fresh = [];
    } catch (error) {
      throw diskError(error, "the run's data");
    }
  }

  private load(): Map<string, string> {
    if (this.known) return this.known;
    this.known = new Map();
    if (!this.file) return this.known;
    let lines: string[];
    try {
      lines = readFileSync(this.file, "utf8").split("\n");
    } catch (error) {
      if (isMissing(error)) return this.known;
      throw error;
    }
    for (const line of lines) {
      // The last line may be torn.
      const parts = /^([\d:]+) ([0-9a-f]{64})$/.exec(line);
      if (parts) this.known.set(parts[1]!, parts[2]!);
    }
    this.compact(lines.length);
    return this.known;
  }

  /** Inodes come and go: a file that is mostly repetitions is written anew. */
  private compact(lines: number): void {
    if (!this.file || !this.known || lines < 10_000 + 2 * this.known.size) return;
    const staged = `${this.file}.${process.pid}`;
    writeFileSync(staged, [...this.known].map(([identity, hex]) => `${identity} ${hex}\n`).join(""));
    renameSync(staged, this.file);
  }
}

async function hashFile(filePath: string): Promise<{ hex: string; bytes: number }> {
  const hash = createHash("sha256");
  const handle = await open(filePath, "r");
  try {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    let bytes = 0;
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, READ_BYTES, null);
      if (bytesRead === 0) return { hex: hash.digest("hex"), bytes };
      hash.update(buffer.subarray(0, bytesRead));
      bytes += bytesRead;
    }
  } finally {
    await handle.close();
  }
}

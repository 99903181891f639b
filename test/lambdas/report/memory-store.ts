// An object store in memory: every rule of the port, nothing of a disk.
import type { ObjectInfo, ObjectStore } from "../../../lib/contracts/index.ts";
import { hashOf } from "../../../lib/contracts/index.ts";

export class MemoryStore implements ObjectStore {
  readonly objects = new Map<string, Uint8Array>();

  async get(uri: string): Promise<Uint8Array | undefined> {
    return this.objects.get(uri);
  }

  async exists(uri: string): Promise<boolean> {
    return this.objects.has(uri);
  }

  async put(uri: string, body: Uint8Array | string, options: { ifAbsent?: boolean } = {}): Promise<boolean> {
    if (options.ifAbsent && this.objects.has(uri)) return false;
    this.objects.set(uri, typeof body === "string" ? new TextEncoder().encode(body) : body);
    return true;
  }

  async list(prefixUri: string): Promise<ObjectInfo[]> {
    return [...this.objects]
      .filter(([uri]) => uri.startsWith(prefixUri))
      .map(([uri, body]) => ({ key: uri.slice(prefixUri.length), bytes: body.length, tag: hashOf([...body]) }))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  text(uri: string): string {
    const body = this.objects.get(uri);
    if (!body) throw new Error(`no object ${uri}; there are ${[...this.objects.keys()].join(", ")}`);
    return new TextDecoder().decode(body);
  }
}

// contracts/ports.ts' ObjectStore on S3.
import {
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  paginateListObjectsV2,
  S3Client,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import { VoxelburstError } from "../../lib/contracts/error.ts";
import type { ObjectInfo, ObjectStore } from "../../lib/contracts/ports.ts";
import { checksumTag } from "./object-checksums.ts";

/** @throws VoxelburstError UriUnsupported when it is no s3:// URI with a bucket */
export function parseS3Uri(uri: string): { Bucket: string; Key: string } {
  const match = /^s3:\/\/([^/]+)\/(.*)$/s.exec(uri);
  if (!match)
    throw new VoxelburstError(
      "UriUnsupported",
      `An object was asked for by another address than s3://bucket/key.`,
      "Start the run with s3:// addresses.",
      { got: uri, allowed: "s3://bucket/key" },
    );
  return { Bucket: match[1]!, Key: match[2]! };
}

/**
 * A listing tells no checksum: each is a request of its own, of some 1.5 ms of a processor (measured on loopback) and
 * half a cent for all 10,000, well within start-run's 120 seconds. A dataset of more objects (slices of DICOM) keeps its
 * ETags: under KMS it is another one when it is uploaded again.
 */
const MOST_CHECKSUMS = 10_000;
const AT_ONCE = 32;

const statusOf = (error: unknown) => (error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined);

export class S3ObjectStore implements ObjectStore {
  private readonly client: S3Client;

  constructor(client: S3Client = new S3Client({})) {
    this.client = client;
  }

  async get(uri: string): Promise<Uint8Array | undefined> {
    try {
      const { Body } = await this.client.send(new GetObjectCommand(parseS3Uri(uri)));
      return await Body!.transformToByteArray();
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  }

  async exists(uri: string): Promise<boolean> {
    try {
      await this.client.send(new HeadObjectCommand(parseS3Uri(uri)));
      return true;
    } catch (error) {
      if (statusOf(error) === 404) return false;
      throw error;
    }
  }

  async put(
    uri: string,
    body: Uint8Array | string,
    options: { ifAbsent?: boolean; contentType?: string } = {},
  ): Promise<boolean> {
    try {
      await this.client.send(
        new PutObjectCommand({
          ...parseS3Uri(uri),
          Body: body,
          ...(options.contentType ? { ContentType: options.contentType } : {}),
          ...(options.ifAbsent ? { IfNoneMatch: "*" } : {}),
        }),
      );
      return true;
    } catch (error) {
      // 412: it exists. 409: another conditional put of the same key is under way, and one of the two will have won.
      const status = statusOf(error);
      if (options.ifAbsent && status === 412) return false;
      if (options.ifAbsent && status === 409) return this.put(uri, body, options);
      throw error;
    }
  }

  async list(prefixUri: string, { byContent = false }: { byContent?: boolean } = {}): Promise<ObjectInfo[]> {
    const { Bucket, Key: Prefix } = parseS3Uri(prefixUri);
    const infos: ObjectInfo[] = [];
    const withChecksum: ObjectInfo[] = [];
    for await (const page of paginateListObjectsV2({ client: this.client }, { Bucket, Prefix }))
      for (const { Key, Size, ETag, ChecksumAlgorithm } of page.Contents ?? []) {
        const info = { key: Key!.slice(Prefix.length), bytes: Size ?? 0, tag: (ETag ?? "").replaceAll('"', "") };
        infos.push(info);
        if (ChecksumAlgorithm?.length) withChecksum.push(info);
      }
    if (byContent && withChecksum.length <= MOST_CHECKSUMS)
      await eachOf(withChecksum, async (info) => {
        info.tag = (await checksumTag(this.client, Bucket, Prefix + info.key)) ?? info.tag;
      });
    // S3 lists in the order of UTF-8; the port promises that of keys, which the local store sorts by code units.
    return infos.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  }
}

/** A failure ends them all: a listing with some tags of another kind would be another dataset. */
async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const waiting = items.values();
  const worker = async () => {
    for (const item of waiting) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

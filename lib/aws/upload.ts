// A dataset's way into the data bucket: what is there already stays, dataset.json comes last, as it is the trigger.
import { createHash } from "node:crypto";
import { createReadStream, type ReadStream, statSync } from "node:fs";
import path from "node:path";
import { HeadObjectCommand, PutObjectCommand, S3Client, S3ServiceException } from "@aws-sdk/client-s3";
import { VoxelburstError } from "../contracts/index.ts";

export interface UploadFile {
  /** Below the dataset's folder, with slashes. */
  key: string;
  source: { file: string } | { text: string };
}

export interface UploadProgress {
  file: string;
  bytes: number;
  skipped: boolean;
}

export interface Uploaded {
  uploaded: number;
  skipped: number;
  bytes: number;
}

/** What one PutObject takes. No image of a dataset is near it. */
const MOST_BYTES = 5 * 2 ** 30;
/** Reading to hash and sending overlap; more of them only fill the line. */
const AT_ONCE = 4;
const TRIGGER = "dataset.json";

export class DatasetUpload {
  private readonly bucket: string;
  private readonly client: S3Client;

  constructor(bucket: string, client: S3Client = new S3Client({})) {
    this.bucket = bucket;
    this.client = client;
  }

  /**
   * Uploads what the bucket does not have with the same SHA-256. A stopped upload goes on where it was; an unchanged
   * dataset uploads nothing, and so triggers nothing.
   *
   * @param prefix - keys.dataset(name)
   * @throws VoxelburstError FileTooLarge
   */
  async upload(
    prefix: string,
    files: readonly UploadFile[],
    signal: AbortSignal,
    onFile: (progress: UploadProgress) => void = () => undefined,
  ): Promise<Uploaded> {
    const total: Uploaded = { uploaded: 0, skipped: 0, bytes: 0 };
    const waiting = files.filter(({ key }) => key !== TRIGGER);
    const take = async (file: UploadFile) => {
      const done = await this.put(prefix, file, signal);
      total[done.skipped ? "skipped" : "uploaded"] += 1;
      if (!done.skipped) total.bytes += done.bytes;
      onFile(done);
    };
    const failures: unknown[] = [];
    const worker = async () => {
      for (let next = waiting.shift(); next; next = waiting.shift()) await take(next);
    };
    const stopped = (error: unknown) => {
      waiting.length = 0;
      failures.push(error);
    };
    // What is under way ends before the failure is told: nothing is read or sent after it.
    await Promise.all(Array.from({ length: AT_ONCE }, () => worker().catch(stopped)));
    if (failures.length > 0) throw failures[0];
    const trigger = files.find(({ key }) => key === TRIGGER);
    // Where anything else has changed the trigger has to be put again, although it is the same.
    if (trigger && total.uploaded > 0) {
      const done = await this.put(prefix, trigger, signal, true);
      total.uploaded += 1;
      total.bytes += done.bytes;
      onFile(done);
    } else if (trigger) await take(trigger);
    return total;
  }

  /** Puts dataset.json again, though it is the same: what stands in the bucket is started. */
  async trigger(prefix: string, files: readonly UploadFile[], signal: AbortSignal): Promise<void> {
    for (const file of files) if (file.key === TRIGGER) await this.put(prefix, file, signal, true);
  }

  private async put(
    prefix: string,
    { key, source }: UploadFile,
    signal: AbortSignal,
    always = false,
  ): Promise<UploadProgress> {
    signal.throwIfAborted();
    const bytes = "file" in source ? statSync(source.file).size : Buffer.byteLength(source.text);
    if (bytes > MOST_BYTES)
      throw new VoxelburstError(
        "FileTooLarge",
        `${key} has ${bytes} bytes; allowed: at most ${MOST_BYTES}.`,
        "Compress it (.nii.gz), or upload the dataset with `aws s3 cp`, dataset.json last.",
        { field: key },
      );
    const sha256 = await sha256Of(source);
    const at = { Bucket: this.bucket, Key: prefix + key };
    if (!always && (await this.has(at, sha256))) return { file: key, bytes, skipped: true };
    const send = (Body: ReadStream | string, abortSignal: AbortSignal) =>
      this.client.send(
        new PutObjectCommand({
          ...at,
          Body,
          ContentLength: bytes,
          // S3 refuses what arrives otherwise, and tells it again: an ETag under KMS is not the content's.
          ChecksumAlgorithm: "SHA256",
          ChecksumSHA256: sha256,
          ...(path.extname(key) === ".json" ? { ContentType: "application/json" } : {}),
        }),
        { abortSignal },
      );
    if ("file" in source) await sendFile(source.file, signal, send);
    else await send(source.text, signal);
    return { file: key, bytes, skipped: false };
  }

  private async has(at: { Bucket: string; Key: string }, sha256: string): Promise<boolean> {
    try {
      const head = await this.client.send(new HeadObjectCommand({ ...at, ChecksumMode: "ENABLED" }));
      return head.ChecksumSHA256 === sha256;
    } catch (error) {
      if (error instanceof S3ServiceException && error.$metadata.httpStatusCode === 404) return false;
      throw error;
    }
  }
}

/** The SDK does not listen to a body's errors: a file that cannot be read any more would end the process. */
async function sendFile(
  file: string,
  signal: AbortSignal,
  send: (body: ReadStream, signal: AbortSignal) => Promise<unknown>,
): Promise<void> {
  const unreadable = new AbortController();
  const body = createReadStream(file).on("error", (error) => unreadable.abort(error));
  try {
    await send(body, AbortSignal.any([signal, unreadable.signal]));
  } catch (error) {
    throw unreadable.signal.aborted ? unreadable.signal.reason : error;
  } finally {
    body.destroy();
  }
}

async function sha256Of(source: UploadFile["source"]): Promise<string> {
  const hash = createHash("sha256");
  if ("text" in source) hash.update(source.text);
  else for await (const chunk of createReadStream(source.file)) hash.update(chunk as Buffer);
  return hash.digest("base64");
}

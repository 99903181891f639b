// What S3 knows of an object's bytes. An ETag under SSE-KMS is not their digest: the same bytes uploaded again have
// another one (API reference, "Object": ETag). A checksum is theirs, whoever uploads them and however often.
import { HeadObjectCommand, type HeadObjectCommandOutput, type S3Client } from "@aws-sdk/client-s3";

/** The longest first; an object has one, of the kind that its uploader chose, or S3 for it. */
const ALGORITHMS = ["SHA256", "CRC64NVME", "SHA1", "CRC32C", "CRC32"] as const;

/**
 * The tag of one object's bytes: `sha256:<hex>`, as of a file on one machine, or with another algorithm's name before it.
 * A checksum of parts has `-of-parts` there: it depends on how the object was cut, as the ETag of such an upload does.
 *
 * Needs s3:GetObject and, under KMS, kms:Decrypt.
 *
 * @returns undefined when the object has no checksum
 */
export async function checksumTag(client: S3Client, Bucket: string, Key: string): Promise<string | undefined> {
  return tagOf(await client.send(new HeadObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" })));
}

function tagOf(head: HeadObjectCommandOutput): string | undefined {
  for (const algorithm of ALGORITHMS) {
    const value = head[`Checksum${algorithm}`];
    if (value === undefined) continue;
    const name = algorithm.toLowerCase();
    // <base64>-<parts>, which some of S3's answers call COMPOSITE and older ones do not.
    const parts = /^(.+)-(\d+)$/.exec(value);
    const hex = Buffer.from(parts?.[1] ?? value, "base64").toString("hex");
    return parts || head.ChecksumType === "COMPOSITE"
      ? `${name}-of-parts:${hex}-${parts?.[2] ?? ""}`
      : `${name}:${hex}`;
  }
  return undefined;
}

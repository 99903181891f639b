import { createHash } from "node:crypto";
import { S3Client } from "@aws-sdk/client-s3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { S3ObjectStore } from "../../../lambdas/clients/s3-object-store.ts";
import { S3Server } from "./s3-server.ts";

let server: S3Server;
let store: S3ObjectStore;
beforeEach(async () => {
  server = new S3Server();
  store = new S3ObjectStore(
    new S3Client({
      endpoint: await server.start(),
      region: "us-east-1",
      forcePathStyle: true,
      credentials: { accessKeyId: "a", secretAccessKey: "s" },
      maxAttempts: 1,
    }),
  );
});
afterEach(() => server.stop());
const text = (bytes: Uint8Array | undefined) => bytes && new TextDecoder().decode(bytes);

describe("S3ObjectStore", () => {
  it("gets what was put, byte for byte, with its content type", async () => {
    const body = new Uint8Array([0, 255, 13, 10, 0]);
    expect(await store.put("s3://b/runs/x/a b+ü.bin", body, { contentType: "application/octet-stream" })).toBe(true);
    expect(await store.get("s3://b/runs/x/a b+ü.bin")).toEqual(body);
    expect(server.objects.get("b/runs/x/a b+ü.bin")?.contentType).toBe("application/octet-stream");
  });

  it("tells an object that is absent from one that is there", async () => {
    await store.put("s3://b/k", "text");
    expect([await store.exists("s3://b/k"), await store.exists("s3://b/other")]).toEqual([true, false]);
    expect(text(await store.get("s3://b/k"))).toBe("text");
    expect(await store.get("s3://b/other")).toBeUndefined();
  });

  it("leaves an object as it was when asked to put only if absent", async () => {
    expect(await store.put("s3://b/k", "first", { ifAbsent: true })).toBe(true);
    expect(await store.put("s3://b/k", "second", { ifAbsent: true })).toBe(false);
    expect(text(await store.get("s3://b/k"))).toBe("first");
    expect(await store.put("s3://b/k", "third")).toBe(true);
    expect(text(await store.get("s3://b/k"))).toBe("third");
  });

  it("asks again when another conditional put of the key is under way", async () => {
    server.conflicts.push(409, 409);
    expect(await store.put("s3://b/k", "mine", { ifAbsent: true })).toBe(true);
    expect(server.requests.filter((request) => request.startsWith("PUT"))).toHaveLength(3);
  });

  it("lists every page below a prefix, relative to it, with a tag that changes with the content", async () => {
    for (const key of ["a", "c/d", "b", "z", "y"]) await store.put(`s3://b/p/${key}`, key);
    await store.put("s3://b/other", "x");
    const listed = await store.list("s3://b/p/");
    expect(listed.map(({ key, bytes }) => [key, bytes])).toEqual([
      ["a", 1],
      ["b", 1],
      ["c/d", 3],
      ["y", 1],
      ["z", 1],
    ]);
    expect(server.requests.filter((request) => request.startsWith("GET"))).toHaveLength(3);
    await store.put("s3://b/p/a", "A");
    const [before, after] = [listed[0]!, (await store.list("s3://b/p/"))[0]!];
    expect(before.tag).toMatch(/^[0-9a-f]{32}$/);
    expect(after.tag).not.toBe(before.tag);
  });

  describe("listing by content", () => {
    const sha256 = (body: Buffer) => createHash("sha256").update(body);
    const listed = async () => (await store.list("s3://b/p/", { byContent: true })).map(({ tag }) => tag);
    const heads = () => server.requests.filter((request) => request.startsWith("HEAD"));
    beforeEach(() => {
      server.isEncrypted = true;
      server.checksumOf = (body) => ["x-amz-checksum-sha256", sha256(body).digest("base64")];
    });

    it("tags the same bytes alike, however often they are uploaded under KMS, and other bytes otherwise", async () => {
      await store.put("s3://b/p/label", "label");
      const [first] = await listed();
      await store.put("s3://b/p/label", "label");
      expect(await listed()).toEqual([first]);
      // As a file has it on one machine.
      expect(first).toBe(`sha256:${sha256(Buffer.from("label")).digest("hex")}`);
      await store.put("s3://b/p/label", "corrected");
      expect(await listed()).not.toEqual([first]);
    });

    it.each([
      ["x-amz-checksum-crc64nvme", "rosUhgp5mIg=", "crc64nvme:ae8b14860a799888"],
      ["x-amz-checksum-crc32", "jNwWgw==", "crc32:8cdc1683"],
      [
        "x-amz-checksum-sha256",
        "CjJcowPrMBTEOuAElw80NjTbF2+haXvMjJ76yUYmSI0=-2",
        /^sha256-of-parts:0a325ca3[0-9a-f]+-2$/,
      ],
    ])("takes what the uploader or S3 itself had computed: %s %s", async (name, value, tag) => {
      server.checksumOf = () => [name, value];
      await store.put("s3://b/p/k", "x");
      expect(await listed()).toEqual([expect.stringMatching(tag)]);
    });

    it("asks for one object once, and for none that has no checksum: those keep their ETags", async () => {
      for (const key of ["a", "b", "c"]) await store.put(`s3://b/p/${key}`, key);
      await listed();
      expect(heads()).toHaveLength(3);
      server.checksumOf = undefined;
      expect(await listed()).toEqual([1, 2, 3].map((put) => String(put).padStart(32, "0")));
      expect(heads()).toHaveLength(3);
    });

    it("asks for none of a dataset of more than 10,000 objects: those keep their ETags", async () => {
      server.pageSize = 1_000;
      const body = Buffer.from("slice");
      const at = (index: number) => `b/p/${String(index).padStart(5, "0")}.dcm`;
      for (let index = 0; index < 10_001; index++)
        server.objects.set(at(index), { body, contentType: undefined, etag: `"${index}"` });
      const tags = await listed();
      expect(tags).toHaveLength(10_001);
      expect(tags[10_000]).toBe("10000");
      expect(heads()).toEqual([]);
    });

    it("fails as a whole when one of them cannot be asked: a mixture would be another dataset", async () => {
      await store.put("s3://b/p/a", "a");
      server.refusesHeads = true;
      await expect(listed()).rejects.toThrow();
    });
  });

  it("lets every other answer of S3 through as an error", async () => {
    server.stop();
    await expect(store.exists("s3://b/k")).rejects.toThrow();
  });

  it("refuses an address that is not S3's", async () => {
    await expect(store.get("file:///tmp/k")).rejects.toMatchObject({ code: "UriUnsupported" });
  });
});

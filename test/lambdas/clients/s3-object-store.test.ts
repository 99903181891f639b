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

  it("lets every other answer of S3 through as an error", async () => {
    server.stop();
    await expect(store.exists("s3://b/k")).rejects.toThrow();
  });

  it("refuses an address that is not S3's", async () => {
    await expect(store.get("file:///tmp/k")).rejects.toMatchObject({ code: "UriUnsupported" });
  });
});

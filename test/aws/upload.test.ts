import { rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { CreateBucketCommand, GetObjectCommand, ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { DatasetUpload, type UploadFile } from "../../lib/aws/upload.ts";
import { temporaryFolder } from "../local/fixture.ts";
import { type Moto, startMoto } from "./moto.ts";

let moto: Moto;
let client: S3Client;
let bucket: string;
let number = 0;
const newClient = () =>
  new S3Client({
    endpoint: moto.url,
    region: "us-east-1",
    credentials: { accessKeyId: "a", secretAccessKey: "s" },
    forcePathStyle: true,
  });
beforeAll(async () => {
  moto = await startMoto();
  client = newClient();
}, 90_000);
afterAll(() => moto?.stop());
beforeEach(async () => {
  bucket = `data-${number++}`;
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
}, 60_000);

const signal = new AbortController().signal;

/** A folder with two images, a label and the manifest. */
function folder() {
  const root = temporaryFolder();
  const write = (name: string, text: string): UploadFile => {
    writeFileSync(path.join(root, name), text);
    return { key: name, source: { file: path.join(root, name) } };
  };
  const files = [write("dataset.json", "{}"), write("a.nii.gz", "image"), write("b.nii.gz", "label")];
  return { root, write, files: [...files, { key: "recipe.yaml", source: { text: "{}\n" } }] };
}

const upload = async (files: readonly UploadFile[]) => {
  const order: string[] = [];
  const done = await new DatasetUpload(bucket, client).upload("datasets/p/", files, signal, ({ file, skipped }) => {
    if (!skipped) order.push(file);
  });
  return { done, order };
};

describe("a dataset's upload", () => {
  test("puts dataset.json last, wherever it stands in the list", async () => {
    const { order, done } = await upload(folder().files);
    expect(order.toSorted()).toEqual(["a.nii.gz", "b.nii.gz", "dataset.json", "recipe.yaml"]);
    expect(order.at(-1)).toBe("dataset.json");
    expect(done).toEqual({ uploaded: 4, skipped: 0, bytes: 5 + 5 + 2 + 3 });
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
    expect(Contents.map(({ Key }) => Key)).toEqual(order.map((name) => `datasets/p/${name}`).sort());
    const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: "datasets/p/a.nii.gz" }));
    expect(await Body?.transformToString()).toBe("image");
  });

  test("of what is there already uploads nothing, and so triggers nothing", async () => {
    const { files } = folder();
    await upload(files);
    const again = await upload(files);
    expect(again).toEqual({ order: [], done: { uploaded: 0, skipped: 4, bytes: 0 } });
  });

  test("with one changed label uploads that label and the trigger", async () => {
    const { files, write } = folder();
    await upload(files);
    write("b.nii.gz", "corrected");
    expect((await upload(files)).order).toEqual(["b.nii.gz", "dataset.json"]);
  });

  test("that was cut off goes on: what came through stays", async () => {
    const { files } = folder();
    await upload(files.filter(({ key }) => key === "a.nii.gz"));
    const { done, order } = await upload(files);
    expect(done).toMatchObject({ uploaded: 3, skipped: 1 });
    expect(order).not.toContain("a.nii.gz");
  });

  test("that is cancelled does not reach the trigger", async () => {
    const { files } = folder();
    const aborted = AbortSignal.abort();
    await expect(new DatasetUpload(bucket, client).upload("datasets/p/", files, aborted)).rejects.toThrow();
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
    expect(Contents.map(({ Key }) => Key)).not.toContain("datasets/p/dataset.json");
  });

  test("of a file that is removed while it runs ends with that error, not the process", async () => {
    const { files, root } = folder();
    // After its SHA-256 was asked for and before it is read again to be sent.
    const removing = newClient();
    removing.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          const result = next(args);
          await result.catch(() => undefined);
          const { Key } = args.input as { Key?: string };
          if (commandName === "HeadObjectCommand" && Key?.endsWith("a.nii.gz")) rmSync(path.join(root, "a.nii.gz"));
          return await result;
        },
      { step: "initialize" },
    );
    await expect(new DatasetUpload(bucket, removing).upload("datasets/p/", files, signal)).rejects.toThrow(
      /ENOENT.*a\.nii\.gz/,
    );
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
    expect(Contents.map(({ Key }) => Key)).not.toContain("datasets/p/dataset.json");
  });

  test("that fails sends nothing after its error", async () => {
    const { write } = folder();
    const many = Array.from({ length: 24 }, (_, index) => write(`image_${index}.nii.gz`, `image ${index}`));
    const stop = new AbortController();
    let sent = 0;
    const running = new DatasetUpload(bucket, client).upload("datasets/p/", many, stop.signal, () => {
      sent += 1;
      if (sent === 3) stop.abort();
    });
    await expect(running).rejects.toThrow();
    const atTheError = sent;
    expect(atTheError).toBeLessThan(many.length);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(sent).toBe(atTheError);
  });
});

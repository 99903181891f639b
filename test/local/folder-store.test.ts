import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ContentTags } from "../../lib/local/content-tags.ts";
import { FolderStore } from "../../lib/local/folder-store.ts";
import { folderUri } from "../../lib/local/home.ts";
import { temporaryFolder } from "./fixture.ts";

function open(tags?: ContentTags) {
  const folder = temporaryFolder();
  return { folder, root: folderUri(folder), store: new FolderStore(tags) };
}
const textOf = (bytes: Uint8Array | undefined) => bytes && new TextDecoder().decode(bytes);
/** A clock an hour from now: what was just written looks settled. */
const later = { now: () => new Date(Date.now() + 3_600_000) };

describe("objects", () => {
  test("what is put is got, and nothing else is there", async () => {
    const { store, root } = open();
    expect(await store.put(`${root}a/b.json`, "x")).toBe(true);
    expect(textOf(await store.get(`${root}a/b.json`))).toBe("x");
    expect(await store.exists(`${root}a/b.json`)).toBe(true);
    expect(await store.get(`${root}a/c.json`)).toBeUndefined();
    expect(await store.get(`${root}a/`)).toBeUndefined();
    expect(await store.exists(`${root}a/b.json/c`)).toBe(false);
  });

  test("a conditional put leaves what is there, and of many at once exactly one succeeds", async () => {
    const { store, root, folder } = open();
    const puts = Array.from({ length: 20 }, (_, index) => store.put(`${root}one`, String(index), { ifAbsent: true }));
    const done = await Promise.all(puts);
    expect(done.filter(Boolean)).toHaveLength(1);
    expect(textOf(await store.get(`${root}one`))).toBe(String(done.indexOf(true)));
    expect(readdirSync(folder)).toEqual(["one"]);
  });

  test("works in folders whose names have spaces, percent and number signs", async () => {
    const { folder, store } = open();
    const root = folderUri(path.join(folder, "50 % of #1, ü?"));
    await store.put(`${root}x.json`, "x");
    expect((await store.list(root)).map((object) => object.key)).toEqual(["x.json"]);
    expect(readdirSync(folder)).toEqual(["50 % of #1, ü?"]);
  });

  test("any keys that were put are listed in order, below their prefix", async () => {
    const key = fc
      .array(fc.stringMatching(/^[a-z0-9_-]{1,4}$/), { minLength: 1, maxLength: 3 })
      .map((p) => p.join("/"));
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(key, { maxLength: 6 }), async (keys) => {
        // A file cannot be a folder too.
        const fitting = keys.filter((one) => !keys.some((other) => other.startsWith(`${one}/`)));
        const store = new FolderStore();
        const root = folderUri(path.join(temporaryFolder(), "p"));
        for (const one of fitting) await store.put(`${root}${one}`, one);
        const listed = await store.list(root);
        expect(listed.map((object) => object.key)).toEqual(fitting.toSorted());
        expect(listed.every((object) => object.bytes === object.key.length)).toBe(true);
      }),
      { numRuns: 15 },
    );
  });
});

describe("a listing", () => {
  test("follows links, but not in circles, and leaves out names that start with a dot", async () => {
    const { folder, store, root } = open();
    const elsewhere = temporaryFolder();
    writeFileSync(path.join(elsewhere, "linked.nii.gz"), "l");
    writeFileSync(path.join(folder, "own.nii.gz"), "o");
    writeFileSync(path.join(folder, ".write-1-abc"), "unfinished");
    mkdirSync(path.join(folder, ".git"));
    writeFileSync(path.join(folder, ".git", "HEAD"), "h");
    symlinkSync(elsewhere, path.join(folder, "images"));
    symlinkSync(folder, path.join(folder, "circle"));
    symlinkSync(path.join(folder, "nowhere"), path.join(folder, "broken"));
    expect((await store.list(root)).map((object) => object.key)).toEqual(["images/linked.nii.gz", "own.nii.gz"]);
  });

  test("of a folder that is not there is empty", async () => {
    const { store, root } = open();
    expect(await store.list(`${root}nothing/`)).toEqual([]);
  });
});

describe("content tags", () => {
  test("are the SHA-256 of the content", async () => {
    const { store, root } = open();
    await store.put(`${root}x`, "abc");
    expect((await store.list(root))[0]).toEqual({
      key: "x",
      bytes: 3,
      tag: "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    });
  });

  test("are kept over processes, and computed anew when a file changes", async () => {
    const folder = temporaryFolder();
    const cache = path.join(folder, "cache", "tags");
    const file = path.join(folder, "volume");
    const open = () => new ContentTags(cache, later);
    const tagNow = async () => {
      const tags = open();
      const { tag } = await tags.tagOf(file);
      tags.save();
      return tag;
    };
    writeFileSync(file, "first");
    const first = await tagNow();
    // What is remembered is used: a tag that was changed in the cache comes back changed.
    writeFileSync(cache, readFileSync(cache, "utf8").replace(/ [0-9a-f]{4}/, " 0000"));
    expect((await open().tagOf(file)).tag).toBe(first.replace(/:[0-9a-f]{4}/, ":0000"));
    writeFileSync(file, "secon");
    expect(await tagNow()).not.toMatch(/:0000/);
  });

  test("survive a torn last line", async () => {
    const folder = temporaryFolder();
    const cache = path.join(folder, "tags");
    writeFileSync(cache, "1:2:3:4:5 abc");
    const file = path.join(folder, "volume");
    writeFileSync(file, "abc");
    expect((await new ContentTags(cache, later).tagOf(file)).tag).toMatch(/^sha256:ba7816bf/);
  });

  test("of a file that was just written are not trusted later, as it may change within a tick of the clock", async () => {
    const folder = temporaryFolder();
    const cache = path.join(folder, "cache", "tags");
    const file = path.join(folder, "volume");
    writeFileSync(file, "first");
    const tags = new ContentTags(cache);
    await tags.tagOf(file);
    tags.save();
    expect(readdirSync(folder)).toEqual(["volume"]);
  });
});

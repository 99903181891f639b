import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { jsonSchemaOf } from "../../lib/contracts/build.ts";
import { documents } from "../../lib/contracts/documents.ts";

const folder = new URL("../../lib/contracts/schema/", import.meta.url);
const schemas = Object.keys(documents).map((name) => readFileSync(new URL(`${name}.json`, folder), "utf8"));

describe("lib/contracts/schema, which Python reads,", () => {
  it("has a file for every document and no other", () => {
    expect(readdirSync(folder).sort()).toEqual(
      Object.keys(documents)
        .map((name) => `${name}.json`)
        .sort(),
    );
  });

  it.each(Object.entries(documents))("holds %s as build.ts writes it", (name, schema) => {
    const file = readFileSync(new URL(`${name}.json`, folder), "utf8");
    expect(file, "run `node lib/contracts/build.ts` and commit what it writes").toBe(jsonSchemaOf(schema));
  });

  it("has no pattern that JavaScript alone understands", () => {
    const patterns = schemas
      .flatMap((text) => [...text.matchAll(/"pattern": ("(?:[^"\\]|\\.)*")/g)])
      .map(([, p]) => JSON.parse(p!));
    expect(patterns.length).toBeGreaterThan(50);
    // Named groups, Unicode properties, code points and control escapes are written otherwise in Python's re.
    expect(patterns.filter((pattern) => /\(\?<[a-z]|\\[pPuc]|\\x/.test(pattern))).toEqual([]);
  });

  it("closes every object: an unknown field is an error in Python too", () => {
    const open = schemas.filter(
      (text) => /"type": "object",\s+"properties"/.test(text) && !text.includes('"additionalProperties": false'),
    );
    expect(open).toEqual([]);
  });
});

// The shared examples, which Python's tests read too: lib/contracts/vectors/<document>.json.
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { z } from "zod";
import { documents } from "../../lib/contracts/documents.ts";
import { parseOrThrow, problemsOf, VoxelburstError } from "../../lib/contracts/index.ts";

interface Vectors {
  valid: { name: string; value: unknown }[];
  /** `got` and `allowed` are parts of what the sentence says of them, in both languages. */
  invalid: { name: string; value: unknown; field: string; got: string; allowed: string }[];
}

const folder = new URL("../../lib/contracts/vectors/", import.meta.url);
const read = (document: string): Vectors => JSON.parse(readFileSync(new URL(`${document}.json`, folder), "utf8"));

it("exist for every document and for nothing else", () => {
  expect(readdirSync(folder).sort()).toEqual(
    Object.keys(documents)
      .map((name) => `${name}.json`)
      .sort(),
  );
});

describe.each(Object.entries(documents))("%s", (name, schema: z.ZodType) => {
  const { valid, invalid } = read(name);

  it("has at least two valid and four invalid examples, each under a name of its own", () => {
    expect(valid.length).toBeGreaterThanOrEqual(2);
    expect(invalid.length).toBeGreaterThanOrEqual(4);
    const names = [...valid, ...invalid].map((vector) => vector.name);
    expect(new Set(names).size).toBe(names.length);
  });

  it.each(valid)("takes $name", ({ value }) => {
    expect(problemsOf(schema, value)).toEqual([]);
    const parsed = parseOrThrow(schema, value, "example", "ExampleInvalid");
    // What is written has been parsed once: it must be readable again, and stay the same.
    expect(parseOrThrow(schema, JSON.parse(JSON.stringify(parsed)), "example", "ExampleInvalid")).toEqual(parsed);
  });

  it.each(invalid)("refuses $name", ({ value, field, got, allowed }) => {
    expect(problemsOf(schema, value)[0]).toEqual({
      field,
      got: expect.stringContaining(got),
      allowed: expect.stringContaining(allowed),
    });
    let thrown: unknown;
    try {
      parseOrThrow(schema, value, "example.json", "ExampleInvalid");
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(VoxelburstError);
    const error = thrown as VoxelburstError;
    expect(error.code).toBe("ExampleInvalid");
    for (const part of ["example.json", field, got, allowed]) expect(error.message).toContain(part);
    expect(error.remedy).toContain(field);
    expect(documents.error.parse(error.toDocument())).toMatchObject({ field });
  });
});

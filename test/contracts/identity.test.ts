import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalJson, hashOf } from "../../lib/contracts/index.ts";

describe("the hash of a value", () => {
  it("does not depend on the order of fields, at any depth", () => {
    expect(hashOf({ a: 1, b: { c: [1, 2], d: "x" } })).toBe(hashOf({ b: { d: "x", c: [1, 2] }, a: 1 }));
    const shuffled = (value: unknown): unknown =>
      value !== null && typeof value === "object" && !Array.isArray(value)
        ? Object.fromEntries(
            Object.entries(value)
              .reverse()
              .map(([name, field]) => [name, shuffled(field)]),
          )
        : value;
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(hashOf(shuffled(value))).toBe(hashOf(value));
      }),
    );
  });

  it("depends on the order of a list, on types and on every value", () => {
    const values = [[1, 2], [2, 1], ["1", 2], { a: 1 }, { a: "1" }, { a: null }, {}, [], "", 0, false, null, [[1], 2]];
    expect(new Set(values.map(hashOf)).size).toBe(values.length);
  });

  it("takes a field that is undefined as one that is absent, and an undefined item as null", () => {
    expect(hashOf({ a: 1, nonce: undefined })).toBe(hashOf({ a: 1 }));
    expect(canonicalJson([undefined, 1])).toBe("[null,1]");
  });

  it("is the SHA-256 of canonical JSON: sha256sum agrees", () => {
    const text = '{"a":[1,"ä"],"b":{"c":null}}';
    expect(canonicalJson({ b: { c: null }, a: [1, "ä"] })).toBe(text);
    const [digest] = execFileSync("sha256sum", { input: text }).toString().split(" ");
    expect(hashOf({ b: { c: null }, a: [1, "ä"] })).toBe(digest);
  });

  it("is canonical JSON that parses back to the same value", () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});

// Writes schema/<document>.json, which Python reads: `node lib/contracts/build.ts`. A test holds the files to the schemas.
import { mkdirSync, writeFileSync } from "node:fs";
import * as z from "zod";
import { documents } from "./documents.ts";

/**
 * The JSON Schema (draft 2020-12) of what a writer may write: defaults are optional, transforms not yet applied.
 * `x-allowed` beside a pattern says in words what it allows.
 */
export const jsonSchemaOf = (schema: z.ZodType): string =>
  `${JSON.stringify(z.toJSONSchema(schema, { io: "input", override: addWords }), null, 2)}\n`;

type Override = NonNullable<NonNullable<Parameters<typeof z.toJSONSchema>[1]>["override"]>;

const addWords: Override = ({ zodSchema, jsonSchema }) => {
  const own = zodSchema._zod.def as { check?: string; checks?: z.core.$ZodCheck[] };
  // A format such as z.iso.datetime() is its own check.
  const checks = [...(own.checks ?? []), ...(own.check ? [zodSchema as unknown as z.core.$ZodCheck] : [])];
  for (const { _zod } of checks) {
    const { pattern, format, error } = _zod.def as z.core.$ZodCheckStringFormatDef;
    const words = error?.({ code: "invalid_format", format, input: "" } as Parameters<typeof error>[0]);
    if (!pattern || typeof words !== "string") continue;
    // Several patterns on one text become entries of allOf.
    const patterns = [jsonSchema, ...(jsonSchema.allOf ?? [])];
    const home = patterns.find((candidate) => candidate.pattern === pattern.source);
    if (home) home["x-allowed"] = words;
  }
};

if (import.meta.main) {
  const folder = new URL("schema/", import.meta.url);
  mkdirSync(folder, { recursive: true });
  for (const [name, schema] of Object.entries(documents))
    writeFileSync(new URL(`${name}.json`, folder), jsonSchemaOf(schema));
}

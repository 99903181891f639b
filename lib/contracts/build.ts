// Writes schema/<document>.json, which Python reads: `node lib/contracts/build.ts`. A test holds the files to the schemas.
import { mkdirSync, writeFileSync } from "node:fs";
import { z } from "zod";
import { documents } from "./documents.ts";

/** The JSON Schema (draft 2020-12) of what a writer may write: defaults are optional, transforms not yet applied. */
export const jsonSchemaOf = (schema: z.ZodType): string =>
  `${JSON.stringify(z.toJSONSchema(schema, { io: "input" }), null, 2)}\n`;

if (import.meta.main) {
  const folder = new URL("schema/", import.meta.url);
  mkdirSync(folder, { recursive: true });
  for (const [name, schema] of Object.entries(documents))
    writeFileSync(new URL(`${name}.json`, folder), jsonSchemaOf(schema));
}

// The version that goes into every hash: another line of a stage's code is another version.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

/** What decides what an output looks like: the stages, the cores that plan them, the documents between them. */
const SOURCES = [
  { folder: "containers/src", endings: [".py", ".cpp", ".cu"] },
  { folder: "lambdas", endings: [".ts"] },
  { folder: "lib/contracts", endings: [".ts", ".json"] },
];

/**
 * @param root - of a checkout
 * @returns <version of package.json>+<10 hexadecimal digits of the sources' hash>
 */
export function softwareVersionOf(root: string): string {
  const hash = createHash("sha256");
  for (const { folder, endings } of SOURCES)
    for (const file of sourcesBelow(path.join(root, folder), endings)) {
      hash.update(`${path.relative(root, file)}\0`);
      hash.update(createHash("sha256").update(readFileSync(file)).digest());
    }
  const { version } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as { version: string };
  return `${version}+${hash.digest("hex").slice(0, 10)}`;
}

function sourcesBelow(folder: string, endings: readonly string[]): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter(({ name }) => !name.startsWith(".") && name !== "__pycache__")
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const at = path.join(folder, entry.name);
      if (entry.isDirectory()) return sourcesBelow(at, endings);
      return entry.isFile() && endings.some((ending) => entry.name.endsWith(ending)) ? [at] : [];
    });
}

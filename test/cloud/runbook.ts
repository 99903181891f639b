// docs/runbook.md as its headings: an alarm each, with three parts.
import { readFileSync } from "node:fs";

export interface RunbookEntry {
  /** GitHub's anchor of the heading. */
  anchor: string;
  parts: { title: string; text: string }[];
}

export function readRunbook(): RunbookEntry[] {
  const text = readFileSync(new URL("../../docs/runbook.md", import.meta.url), "utf8");
  return text
    .split(/^## /m)
    .slice(1)
    .map((section) => {
      const [heading, ...parts] = section.split(/^### /m);
      return {
        anchor: heading!.trim().toLowerCase().replaceAll(" ", "-"),
        parts: parts.map((part) => {
          const [title, ...lines] = part.split("\n");
          return { title: title!.trim(), text: lines.join("\n").trim() };
        }),
      };
    });
}

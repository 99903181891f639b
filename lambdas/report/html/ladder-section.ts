// Rungs of the capacity ladder that tasks had to leave: why a run took longer, or another machine, than was asked for.
import type { Fall, Report } from "../../../lib/contracts/index.ts";
import { type Content, html } from "./markup.ts";
import { table } from "./table.ts";

export function ladderSection({ falls }: Report): Content {
  if (falls.length === 0) return null;
  return html`<p>A task that found no machine, or lost it too often, went on to the next rung of <code>capacity.rungs</code>.</p>
    ${table<Fall>({
      caption: "Rungs left",
      reflow: true,
      columns: [
        { head: "Task", cell: (fall) => html`<code>${fall.taskId}</code>`, rowHead: true },
        { head: "Rung", cell: (fall) => fall.rung },
        { head: "What it said", cell: (fall) => fall.reason, wide: true },
        { head: "Then", cell: (fall) => fall.next ?? "no rung was left" },
      ],
      groups: [{ rows: falls }],
    })}`;
}

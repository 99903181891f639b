// Where it ran, what the recipe changed, what a person should know, and the engines' parity.
import type { Report } from "../../../lib/contracts/index.ts";
import { NOT_MEASURED } from "../rows.ts";
import { dice, duration, significant } from "./format.ts";
import { type Content, type Html, html } from "./markup.ts";
import { table } from "./table.ts";

export function paritySection({ parities }: Report): Content {
  if (parities.length === 0) return null;
  type Line = Report["parities"][number];
  const score = parities.some(({ parity }) => parity.classification) ? "AUC" : "Dice";
  return table<Line>({
    caption: "Each engine against FP32",
    reflow: true,
    columns: [
      { head: "Engine", cell: (line) => html`<b>${line.name}</b> <small>${line.precision}</small>`, rowHead: true },
      { head: "Parity", cell: (line) => (line.parity.passed ? "passed" : html`<b class="bad">failed</b>`) },
      {
        head: `${score} FP32`,
        cell: ({ parity }) => dice(parity.classification ? parity.classification.aucFp32 : parity.meanDiceFp32),
        numeric: true,
      },
      {
        head: `${score} engine`,
        cell: ({ parity }) => dice(parity.classification ? parity.classification.aucEngine : parity.meanDiceEngine),
        numeric: true,
      },
      {
        head: score === "AUC" ? "Cases with the same class" : "Voxels with the same class",
        cell: (line) => `${(100 * line.parity.argmaxAgreement).toFixed(3)} %`,
        numeric: true,
      },
      {
        head: "Largest logit difference",
        cell: (line) => significant(line.parity.largestLogitDifference),
        numeric: true,
      },
      { head: "Cases", cell: (line) => line.parity.cases, numeric: true },
      { head: "Build", cell: (line) => duration(line.buildSeconds), numeric: true },
      { head: "Rule", cell: (line) => line.parity.rule, wide: true },
    ],
    groups: [{ rows: parities }],
  });
}

const versionsText = (versions: Record<string, string>): string =>
  Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(", ");

export function hostsSection({ stages }: Report): Html {
  const hosted = stages.filter((stage) => stage.host);
  if (hosted.length === 0) return html`<p>No stage of this run started on a machine.</p>`;
  type Line = Report["stages"][number];
  return table<Line>({
    caption: "Hosts and versions by stage",
    reflow: true,
    columns: [
      { head: "Stage", cell: (line) => html`<b>${line.stage}</b>`, rowHead: true },
      {
        head: "Device",
        cell: ({ host }) =>
          host!.devices > 0 ? `${host!.device} × ${host!.devices}` : html`${host!.device} <small>CPU</small>`,
      },
      { head: "Processors", cell: (line) => line.host!.cpus, numeric: true },
      { head: "Versions", cell: (line) => versionsText(line.host!.versions) || NOT_MEASURED, wide: true },
      { head: "Stood in", cell: (line) => line.host!.fallbacks.join(" ") || "nothing", wide: true },
    ],
    groups: [{ rows: hosted }],
  });
}

/** What the plan and the recipe decided that a reader would not expect. */
export function notesSection({ overrides, notes }: Report): Html {
  return html`${
    overrides.length > 0
      ? html`<p>The recipe set ${overrides.map((field, at) => html`${at > 0 && ", "}<code>${field}</code>`)}; everything else is the plan’s.</p>`
      : html`<p>The recipe overrode nothing: every setting is the plan’s.</p>`
  }
  ${notes.length > 0 && html`<ul>${notes.map((note) => html`<li>${note}</li>`)}</ul>`}`;
}

// Time and dollars by stage, the estimate beside what happened.
import * as Plot from "@observablehq/plot";
import { type Report, type StageName, stageName } from "../../../lib/contracts/index.ts";
import { NOT_MEASURED } from "../rows.ts";
import { duration, memory, significant, usd } from "./format.ts";
import { type Content, type Html, html } from "./markup.ts";
import { draw } from "./plot.ts";
import { table } from "./table.ts";

interface StageLine {
  stage: StageName;
  actual?: Report["stages"][number];
  estimated?: NonNullable<Report["estimate"]>["stages"][number];
  /** It left a time; a stage that was skipped whole has counts alone, one whose jobs all failed dollars alone. */
  ran: boolean;
}

/** Stages that ran or were estimated, in the order of the workflow. */
function linesOf(report: Report): StageLine[] {
  return stageName.options.flatMap((stage): StageLine[] => {
    const actual = report.stages.find((entry) => entry.stage === stage);
    const estimated = report.estimate?.stages.find((entry) => entry.stage === stage);
    return actual || estimated ? [{ stage, actual, estimated, ran: (actual?.seconds ?? 0) > 0 }] : [];
  });
}

interface Bar {
  stage: string;
  actual: number | null;
  estimated: number | null;
}

function bars(title: string, values: readonly Bar[], format: (value: number) => string): Html {
  const most = Math.max(0, ...values.flatMap(({ actual, estimated }) => [actual ?? 0, estimated ?? 0]));
  const measured = values.filter((bar) => bar.actual !== null);
  const svg = draw(
    {
      height: values.length * 30 + 34,
      marginLeft: 76,
      marginRight: 62,
      marginTop: 4,
      marginBottom: 30,
      x: {
        label: null,
        ticks: 4,
        grid: true,
        domain: [0, most || 1],
        tickFormat: (x: number) => (x === 0 ? "0" : significant(x).replace(/\.?0+$/, "")),
      },
      y: { label: null, domain: values.map(({ stage }) => stage), tickSize: 0, padding: 0.35 },
      marks: [
        Plot.barX(measured, {
          x: "actual",
          y: "stage",
          fill: "var(--series-1)",
          title: (bar: Bar) =>
            `${bar.stage}: ${format(bar.actual!)}${bar.estimated === null ? "" : `, estimated ${format(bar.estimated)}`}`,
        }),
        Plot.tickX(
          values.filter((bar) => bar.estimated !== null),
          {
            x: "estimated",
            y: "stage",
            stroke: "var(--series-2)",
            strokeWidth: 2.5,
            insetTop: -3,
            insetBottom: -3,
            title: (bar: Bar) => `${bar.stage}: estimated ${format(bar.estimated!)}`,
          },
        ),
        Plot.text(values, {
          x: (bar: Bar) => Math.max(bar.actual ?? 0, bar.estimated ?? 0),
          y: "stage",
          text: (bar: Bar) => (bar.actual === null ? "–" : format(bar.actual)),
          textAnchor: "start",
          dx: 6,
        }),
        Plot.ruleX([0], { stroke: "currentColor" }),
      ],
    },
    `${title}. ${values.map((bar) => `${bar.stage}: ${bar.actual === null ? NOT_MEASURED : format(bar.actual)}${bar.estimated === null ? "" : `, estimated ${format(bar.estimated)}`}`).join("; ")}.`,
  );
  return html`<div class="panel"><h4>${title}</h4>${svg}</div>`;
}

const ratio = ({ actual, estimated, ran }: StageLine): Content =>
  ran && estimated && estimated.minutes > 0 ? significant(actual!.seconds / 60 / estimated.minutes) : NOT_MEASURED;

function stagesTable(report: Report, lines: readonly StageLine[]): Html {
  const whenRan = (line: StageLine, of: (actual: NonNullable<StageLine["actual"]>) => string): Content => {
    if (line.ran) return of(line.actual!);
    return line.actual && line.actual.skipped > 0 ? "skipped" : NOT_MEASURED;
  };
  const local = report.where !== "aws";
  const priced = report.pricedAs !== undefined || !local;
  return table<StageLine>({
    caption: "Time, memory and dollars by stage",
    reflow: true,
    columns: [
      { head: "Stage", cell: ({ stage }) => html`<b>${stage}</b>`, rowHead: true },
      { head: "Time", cell: (line) => whenRan(line, ({ seconds }) => duration(seconds)), numeric: true, strong: true },
      {
        head: "Estimated",
        cell: ({ estimated }) => (estimated ? duration(estimated.minutes * 60) : NOT_MEASURED),
        numeric: true,
      },
      { head: "Actual ÷ estimate", cell: ratio, numeric: true },
      {
        head: "Processor time",
        cell: (line) => whenRan(line, ({ cpuOrGpuSeconds }) => duration(cpuOrGpuSeconds)),
        numeric: true,
      },
      {
        head: "Peak memory",
        cell: (line) => whenRan(line, ({ peakMemoryMiB }) => memory(peakMemoryMiB)),
        numeric: true,
      },
      {
        head: "Memory estimated",
        cell: ({ estimated }) => (estimated ? memory(estimated.memoryGiB * 1024) : NOT_MEASURED),
        numeric: true,
      },
      {
        head: "Done / skipped",
        cell: ({ actual }) => (actual ? `${actual.done} / ${actual.skipped}` : NOT_MEASURED),
        numeric: true,
      },
      {
        head: local ? "Equivalent" : "Cost",
        unit: "$",
        cell: ({ actual }) => (actual && priced ? usd(local ? actual.equivalentUsd : actual.usd) : NOT_MEASURED),
        numeric: true,
        strong: true,
      },
      {
        head: local ? "Equivalent estimated" : "Cost estimated",
        unit: "$",
        cell: ({ estimated }) => (estimated ? usd(local ? estimated.equivalentUsd : estimated.usd) : NOT_MEASURED),
        numeric: true,
      },
    ],
    groups: [{ rows: lines }],
  });
}

/** Two panels and the table behind them. */
export function stagesSection(report: Report): Html {
  const lines = linesOf(report);
  if (lines.length === 0) return html`<p>No stage left a result.</p>`;
  const local = report.where !== "aws";
  const priced = report.pricedAs !== undefined || !local;
  const minutes = lines.map(({ stage, actual, estimated, ran }) => ({
    stage,
    actual: ran ? actual!.seconds / 60 : null,
    estimated: estimated?.minutes ?? null,
  }));
  const dollars = lines.map(({ stage, actual, estimated, ran }) => ({
    stage,
    actual: priced && actual && (ran || actual.usd > 0) ? (local ? actual.equivalentUsd : actual.usd) : null,
    estimated: (local ? estimated?.equivalentUsd : estimated?.usd) ?? null,
  }));
  return html`<figure>
      <div class="legend"><span><i class="swatch" style="background:var(--series-1)"></i>actual</span><span><i class="swatch tick" style="background:var(--series-2)"></i>estimated by plan</span></div>
      <div class="panels">
        ${bars("Minutes", minutes, (value) => duration(value * 60))}
        ${bars(local ? "Dollars, equivalent" : "Dollars", dollars, usd)}
      </div>
      <figcaption>${stagesCaption(report)}</figcaption>
    </figure>
    ${stagesTable(report, lines)}
    <div class="notes"><p>Time is from the first child’s start to the last one’s end. Done and skipped count cases; for train and compile, trainings and engines. Processor time is summed over children and GPUs. Peak memory is the largest resident set of one process.</p></div>`;
}

function stagesCaption({ where, pricedAs, usd: cost, equivalentUsd, estimate }: Report): Content {
  const total = where === "aws" ? cost : equivalentUsd;
  const estimated = where === "aws" ? estimate?.usd : estimate?.equivalentUsd;
  const price =
    pricedAs &&
    `one ${pricedAs.instanceType} at ${usd(pricedAs.usdPerHour)} an hour, ${pricedAs.source}, ${pricedAs.date}`;
  const sum = `${usd(total)} in all${estimated === undefined ? "" : `, ${usd(estimated)} estimated`}`;
  if (where === "aws") return `What each stage took and cost. ${sum}.`;
  return pricedAs
    ? `What each stage took, and what the same minutes would cost on ${price}: ${sum}. This run cost nothing.`
    : "What each stage took. The run ended before plan could name a price.";
}

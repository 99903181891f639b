// The style sheet, as a module so that a bundle needs no file beside it. Paper and ink, one accent, five series.
export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #fdfcf9; --ink: #1d1b18; --soft: #5d5850; --rule: #d9d4c8; --faint: #f4f1ea; --accent: #7a2e1d; --good: #1f6b3a; --bad: #a3231b;
  --series-1: #0b5fa5; --series-2: #b4470f; --series-3: #0a7a5e; --series-4: #8a3d85; --series-5: #856200;
  --serif: Charter, "Bitstream Charter", "Iowan Old Style", "Palatino Linotype", Palatino, "Liberation Serif", Georgia, serif;
  --sans: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", "Helvetica Neue", Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #161513; --ink: #e9e5dc; --soft: #a8a194; --rule: #3a3732; --faint: #201e1b; --accent: #e39a7f; --good: #79c893; --bad: #f08b7f;
    --series-1: #6bb1ec; --series-2: #f0935d; --series-3: #4fc7a4; --series-4: #d794d1; --series-5: #dcb341;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 70rem; padding: 3.5rem 1.5rem 4rem; background: var(--paper); color: var(--ink); font: 1.0625rem/1.55 var(--serif); overflow-wrap: break-word; }
a { color: inherit; text-decoration-color: var(--accent); text-underline-offset: 0.15em; }
a:focus-visible, summary:focus-visible, .table:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
small { font-size: 0.82em; }
code { font: 0.86em var(--mono); overflow-wrap: anywhere; }
.case-id { font: 0.86em var(--mono); overflow-wrap: anywhere; }

header { margin-bottom: 2rem; }
.kicker { margin: 0; color: var(--accent); font: 600 0.78rem/1.4 var(--sans); letter-spacing: 0.08em; text-transform: uppercase; }
h1 { margin: 0.2rem 0 0.4rem; font-size: clamp(1.9rem, 1.3rem + 2.6vw, 2.8rem); font-weight: 600; line-height: 1.12; letter-spacing: -0.012em; text-wrap: balance; }
.byline { margin: 0; color: var(--soft); font-size: 0.95rem; }
h2 { margin: 0 0 0.9rem; font-size: 1.42rem; font-weight: 600; line-height: 1.25; letter-spacing: -0.005em; }
h4 { margin: 0 0 0.35rem; font: 600 0.85rem/1.3 var(--sans); }
main > section { margin-top: 3.25rem; padding-top: 1.4rem; border-top: 1px solid var(--rule); }
section > p, section > ul, .abstract { max-width: 43rem; }
.abstract { margin: 1.4rem 0 0; font-size: 1.14rem; line-height: 1.5; }
ul { padding-left: 1.2rem; }
ul.plain, ul.errors { padding: 0; list-style: none; }

.summary { display: grid; grid-template-columns: 1.15fr 1fr 1fr 1fr 1fr; margin: 0; border-block: 2px solid var(--ink); }
.summary > div { padding: 0.85rem 0.9rem 0.95rem; border-left: 1px solid var(--rule); min-width: 0; }
.summary > div:first-child { padding-left: 0; border-left: 0; }
.summary dt { color: var(--soft); font: 600 0.74rem/1.3 var(--sans); letter-spacing: 0.05em; text-transform: uppercase; }
.summary dd { margin: 0.15rem 0 0; }
.value { display: block; font-size: clamp(1.5rem, 1.1rem + 1.4vw, 2.05rem); font-variant-numeric: tabular-nums lining-nums; line-height: 1.2; letter-spacing: -0.01em; }
.absent .value { color: var(--soft); font-size: 1.15rem; font-style: italic; line-height: 2.1; }
.detail { display: block; margin-top: 0.15rem; color: var(--soft); font: 0.78rem/1.35 var(--sans); overflow-wrap: anywhere; }
.succeeded .value { color: var(--good); }
.failed .value, .refused .value, .bad { color: var(--bad); }

.verdict { margin: 0 0 2rem; padding: 1.2rem 1.4rem 0.6rem; border: 1px solid var(--bad); border-left-width: 6px; background: var(--faint); }
main > section.verdict { margin-top: 0; padding-top: 1.2rem; border-top: 1px solid var(--bad); }
.verdict h2 { color: var(--bad); }
.errors p { margin: 0.15rem 0; }
.errors li { margin-bottom: 1.1rem; }
.place { color: var(--soft); font: 0.82rem var(--sans); }
.aside { color: var(--soft); }

.table { margin: 1.2rem 0 0; overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font: 0.86rem/1.4 var(--sans); font-variant-numeric: tabular-nums lining-nums; }
caption { padding-bottom: 0.5rem; text-align: left; font: italic 1rem/1.4 var(--serif); color: var(--soft); }
th, td { padding: 0.5rem 0.45rem; text-align: left; vertical-align: top; }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th { border-top: 1.5px solid var(--ink); border-bottom: 1px solid var(--ink); vertical-align: bottom; font-weight: 600; line-height: 1.25; }
tbody th { font-weight: 400; }
tbody th > small { display: block; color: var(--soft); }
tbody tr + tr > * { border-top: 1px solid var(--rule); }
tbody:last-child tr:last-child > * { border-bottom: 1.5px solid var(--ink); }
.group th { padding-top: 1rem; padding-bottom: 0.35rem; font: italic 1rem/1.4 var(--serif); }
.group th > small { display: inline; font: 0.82rem var(--sans); }
.group + tr > * { border-top: 1px solid var(--rule); }
td.number { white-space: nowrap; }
.number { text-align: right; }
td code { overflow-wrap: normal; }
td.wide { min-width: 8.5rem; }
.strong { font-weight: 650; }
td.absent { white-space: normal; color: var(--soft); font-style: italic; font-size: 0.87em; }
.notes { margin-top: 0.7rem; color: var(--soft); font: 0.82rem/1.5 var(--sans); }
.notes p { margin: 0 0 0.4rem; max-width: 52rem; }
.notes ul { margin: 0; }
.notes li { margin-bottom: 0.2rem; }

figure { margin: 2rem 0 0; }
figcaption::first-letter { text-transform: uppercase; }
figcaption { max-width: 43rem; margin-top: 0.6rem; color: var(--soft); font-size: 0.95rem; line-height: 1.45; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(420px, 100%), 1fr)); gap: 1.8rem 2rem; }
.panel { min-width: 0; max-width: 30rem; }
.plot { display: block; width: 100%; height: auto; overflow: visible; font: 12px var(--sans); font-variant-numeric: tabular-nums; }
.legend { display: flex; flex-wrap: wrap; gap: 0.3rem 1.2rem; margin-bottom: 0.7rem; font: 0.82rem var(--sans); }
.legend span { display: inline-flex; align-items: center; gap: 0.45rem; }
.swatch { print-color-adjust: exact; -webkit-print-color-adjust: exact; width: 0.95rem; height: 0.6rem; border-radius: 1px; }
.swatch.tick { width: 3px; height: 0.95rem; }
.swatch.line { height: 3px; }

.cases { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1.2rem; }
.case img, .no-picture { display: block; width: 100%; height: auto; aspect-ratio: auto; background: #000; image-rendering: auto; }
.no-picture { padding: 4rem 1rem; background: var(--faint); color: var(--soft); text-align: center; font: italic 0.95rem var(--serif); }
.case p { margin: 0.5rem 0 0; font: 0.86rem/1.45 var(--sans); }
.case small { color: var(--soft); }
details { margin-top: 1.4rem; }
summary { cursor: pointer; font: 600 0.9rem var(--sans); }
.warnings li { margin-bottom: 0.5rem; }
footer { margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--rule); color: var(--soft); font-size: 0.9rem; }

@media (max-width: 860px) { .cases { grid-template-columns: 1fr; max-width: 30rem; } }
@media (max-width: 640px) {
  body { padding: 2rem 1.1rem 3rem; font-size: 1rem; }
  main > section { margin-top: 2.4rem; }
  .summary { grid-template-columns: 1fr 1fr; }
  .summary > div { padding: 0.65rem 0.7rem; border-top: 1px solid var(--rule); }
  .summary > div:first-child { grid-column: 1 / -1; padding-left: 0; border-top: 0; }
  .summary > div:nth-child(even) { padding-left: 0; border-left: 0; }
  .panel { max-width: none; }
  .reflow table, .reflow tbody, .reflow tr, .reflow th, .reflow td { display: block; }
  .reflow caption { display: block; }
  .reflow thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .reflow tbody tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.4rem, 1fr)); gap: 0.45rem 0.9rem; padding: 0.8rem 0 0.9rem; border-top: 1px solid var(--rule); }
  .reflow tbody tr.group { padding-bottom: 0.2rem; border-top: 1.5px solid var(--ink); }
  .reflow tbody tr > *, .reflow tbody tr + tr > *, .reflow tbody:last-child tr:last-child > * { padding: 0; border: 0; min-width: 0; }
  .reflow tbody:last-child tr:last-child { border-bottom: 1.5px solid var(--ink); }
  .reflow tbody th { grid-column: 1 / -1; font-size: 0.95rem; }
  .reflow td { text-align: left; white-space: normal; font-size: 0.9rem; }
  .reflow td.wide { grid-column: 1 / -1; }
  .reflow td::before { content: attr(data-label); display: block; color: var(--soft); font-size: 0.78rem; font-weight: 400; font-style: normal; }
}
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; --rule: #bbb; --faint: #fff; --accent: #000; --good: #000; --bad: #000;
    --series-1: #0b5fa5; --series-2: #b4470f; --series-3: #0a7a5e; --series-4: #8a3d85; --series-5: #856200; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2, figcaption, caption { break-after: avoid; }
  .group { break-after: avoid; }
  figure, tr, .panel, .case, .verdict, .summary { break-inside: avoid; }
  .cases { grid-template-columns: repeat(3, 1fr); max-width: none; }
  .panels { grid-template-columns: 1fr 1fr; }
  .table { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: 0.25rem 0.35rem; }
  a { text-decoration: none; }
}
`;

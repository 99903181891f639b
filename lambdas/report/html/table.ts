// One way to make every table: captioned, with row and column heads, and with roles that survive a reflow to cards.
import { NOT_MEASURED } from "../rows.ts";
import { type Content, type Html, html } from "./markup.ts";

export interface Column<Row> {
  /** Plain text: it is also the label of the value when a phone shows the row as a card. */
  head: string;
  /** @default - the head */
  headContent?: Content;
  unit?: string;
  cell: (row: Row) => Content;
  numeric?: boolean;
  rowHead?: boolean;
  strong?: boolean;
  /** A sentence: as a card it takes the whole width, as a column it is not squeezed. */
  wide?: boolean;
}

export interface TableOptions<Row> {
  caption: Content;
  columns: readonly Column<Row>[];
  groups: readonly { title?: Content; rows: readonly Row[] }[];
  /** Below 640 px each row becomes a card; otherwise the table scrolls in its own box. @default false */
  reflow?: boolean;
}

function cellOf<Row>(column: Column<Row>, row: Row): Html {
  const content = column.cell(row);
  const absent = content === NOT_MEASURED;
  const classes = [
    column.numeric && "number",
    column.strong && !absent && "strong",
    absent && "absent",
    column.wide && "wide",
  ];
  const names = classes.filter(Boolean).join(" ");
  const label = column.unit ? `${column.head}, ${column.unit}` : column.head;
  return column.rowHead
    ? html`<th scope="row" role="rowheader">${content}</th>`
    : html`<td role="cell" data-label="${label}" class="${names}"><span>${content}</span></td>`;
}

export function table<Row>({ caption, columns, groups, reflow = false }: TableOptions<Row>): Html {
  return html`<div class="${reflow ? "table reflow" : "table"}" ${focusable(reflow)}>
    <table role="table">
      <caption>${caption}</caption>
      <thead role="rowgroup"><tr role="row">${columns.map(
        ({ head, headContent, unit, numeric }) =>
          html`<th scope="col" role="columnheader" class="${numeric ? "number" : ""}">${headContent ?? head}${unit && html` <small>${unit}</small>`}</th>`,
      )}</tr></thead>
      ${groups.map(
        ({ title, rows }) => html`<tbody role="rowgroup">
          ${title && html`<tr class="group" role="row"><th scope="rowgroup" role="rowheader" colspan="${columns.length}">${title}</th></tr>`}
          ${rows.map((row) => html`<tr role="row">${columns.map((column) => cellOf(column, row))}</tr>`)}
        </tbody>`,
      )}
    </table>
  </div>`;
}

/** A box that scrolls must be reachable by the keyboard. */
const focusable = (reflow: boolean): Html =>
  reflow ? html`` : html`tabindex="0" role="region" aria-label="table, scrolls sideways"`;

// HTML with escaping as the default: what is interpolated is text unless this module made it.

/** Markup that is safe to insert. Only `html` and `trusted` make it. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type Content = Html | string | number | null | undefined | false | readonly Content[];

const ESCAPES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
// C0 and C1 controls and half surrogates are no characters of an HTML document.
const NOT_TEXT = /[^\t\n\r\u0020-\u007e\u00a0-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;

/** Text as HTML shows it, in an element or in a quoted attribute. */
export const escaped = (text: string): string =>
  text.replace(NOT_TEXT, "\ufffd").replace(/[&<>"']/g, (character) => ESCAPES[character]!);

function render(content: Content): string {
  if (content === null || content === undefined || content === false) return "";
  if (content instanceof Html) return content.text;
  if (typeof content === "string" || typeof content === "number") return escaped(String(content));
  return content.map(render).join("");
}

/** Tagged template: everything interpolated is escaped, except markup that came from here. */
export const html = (strings: TemplateStringsArray, ...values: Content[]): Html =>
  new Html(strings.reduce((text, part, at) => text + part + (at < values.length ? render(values[at]) : ""), ""));

/** Markup from a serialiser that escapes by itself. Never call it on text. */
export const trusted = (text: string): Html => new Html(text);

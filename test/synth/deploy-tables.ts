// The tables of docs/deploy.md, each computed from what it speaks of.
import type * as z from "zod";
import { needsOf } from "../../lib/aws/quotas.ts";
import { IDLE_PRICES_DATE, IDLE_PRICES_SOURCE, type IdleCost, totalOf } from "../../lib/cloud/idle-costs.ts";
import { jsonSchemaOf } from "../../lib/contracts/build.ts";
import { type Deployment, deployment } from "../../lib/contracts/deployment.ts";

const table = (head: string[], rows: string[][]): string =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");

type Json = z.core.JSONSchema.JSONSchema;

const allowedBy = (option: Json): string => {
  const words = option["x-allowed"] ?? (option.items as Json | undefined)?.["x-allowed"];
  if (words !== undefined) return `${option.items ? "a list of: " : ""}${words}`;
  const branches = (option.anyOf ?? []) as Json[];
  if (branches.length > 0) return branches.map(allowedBy).join(", or ");
  if (option.type === "array" && (option.items as Json).enum) return `a list of: ${allowedBy(option.items as Json)}`;
  if (option.const !== undefined) return `\`${option.const}\``;
  if (option.enum) return option.enum.map((value) => `\`${value}\``).join(", ");
  if (option.type === "integer" || option.type === "number") {
    const word = option.type === "integer" ? "whole number" : "number";
    const { minimum, maximum, exclusiveMinimum } = option;
    if (exclusiveMinimum !== undefined) return `${word} > ${exclusiveMinimum}`;
    return maximum !== undefined && maximum < 2 ** 53 - 1 ? `${word}, ${minimum} to ${maximum}` : word;
  }
  return String(option.type ?? "");
};

/** A row an option, in the order of the schema; unions by the value that tells their branches apart. */
function optionRows(json: Json, at = ""): string[][] {
  return Object.entries(json.properties ?? {}).flatMap(([name, property]) => {
    const option = property as Json;
    const path = at ? `${at}.${name}` : name;
    const own = option.properties ? undefined : option;
    const isList = option.type === "array";
    const item = isList ? (option.items as Json) : option;
    const branches = (item.oneOf ?? item.anyOf ?? []) as Json[];
    const inner = isList ? `${path}[]` : path;
    const nested = branches.some(({ properties }) => properties) ? unionRows(branches, inner) : optionRows(item, inner);
    const shown = option.default === undefined ? "" : `\`${JSON.stringify(option.default)}\``;
    const self =
      own && (option.description || nested.length === 0)
        ? [[`\`${path}\``, nested.length > 0 ? "" : allowedBy(option), shown, option.description ?? ""]]
        : [];
    return [...self, ...nested];
  });
}

/** What every branch has alike stands once; the rest behind the value that tells its branch apart. */
function unionRows(branches: readonly Json[], at: string): string[][] {
  const plain = branches.map((branch) => optionRows(branch, at));
  const inAll = (row: string[]) => plain.every((rows) => rows.some((other) => other.join() === row.join()));
  const own = branches.flatMap((branch, index) => {
    const marked = optionRows(branch, `${at}(${tagOf(branch)})`);
    return marked
      .filter((_, position) => !inAll(plain[index]![position]!))
      .map((row) =>
        row[1] === `\`${tagOf(branch)}\`` && !row[3] ? [...row.slice(0, 3), branch.description ?? ""] : row,
      );
  });
  return [...plain[0]!.filter(inAll), ...own];
}

/** The constant of a branch of a union: "spot". */
const tagOf = ({ properties = {} }: Json): string =>
  String((Object.values(properties) as Json[]).find((property) => property.const !== undefined)?.const ?? "");

export const optionsTable = (): string =>
  table(
    ["option", "allowed", "default", "what it does"],
    optionRows(JSON.parse(jsonSchemaOf(deployment))).map((row) =>
      row.map((cell) => cell.replaceAll("|", "\\|").replaceAll("<", "&lt;")),
    ),
  );

export const quotaTable = (configurations: Readonly<Record<string, Deployment>>): string =>
  table(
    ["configuration", "quota", "of", "at least", "for all at once"],
    Object.entries(configurations).flatMap(([name, config]) =>
      needsOf(config).map(({ what, quota, service, needed, enough }) => [
        name,
        quota.startsWith("L-") ? `${what} (${quota})` : quota,
        service,
        String(enough?.least ?? needed),
        String(needed),
      ]),
    ),
  );

export function idleTable(costs: Readonly<Record<string, readonly IdleCost[]>>): string {
  const names = Object.keys(costs);
  const kinds = [...new Set(Object.values(costs).flatMap((each) => each.map(({ what }) => what)))];
  const cell = (name: string, what: string) => {
    const found = costs[name]!.find((each) => each.what === what);
    return found ? `${found.usdPerMonth.toFixed(2)} (${found.count.toFixed(0)})` : "";
  };
  const rows = kinds.map((what) => [what, ...names.map((name) => cell(name, what))]);
  const total = ["**USD a month**", ...names.map((name) => `**${totalOf(costs[name]!).toFixed(2)}**`)];
  return `${table(["dollars (and how many)", ...names], [...rows, total])}\n\nPrices: ${IDLE_PRICES_SOURCE}, ${IDLE_PRICES_DATE}.`;
}

/** The document with its computed parts replaced: each stands between <!-- name --> and <!-- end --> */
export const withTables = (text: string, tables: Readonly<Record<string, string>>): string =>
  Object.entries(tables).reduce((all, [name, content]) => {
    const between = new RegExp(`(<!-- ${name} -->\n)[\\s\\S]*?(<!-- end -->)`);
    if (!between.test(all)) throw new Error(`docs/deploy.md has no place for <!-- ${name} -->`);
    return all.replace(between, (_, head: string, foot: string) => `${head}${content}\n${foot}`);
  }, text);

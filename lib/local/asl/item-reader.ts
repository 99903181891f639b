// Reads a distributed Map's items from S3: JSON Lines, a JSON array, CSV, or the list of a prefix.
// https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html
import type { ItemReader } from "./definition.ts";
import { ERROR, StatesError } from "./errors.ts";
import { isObject, type Json, type JsonObject } from "./json.ts";
import type { ItemReaderPort } from "./ports.ts";

const DELIMITERS = { COMMA: ",", PIPE: "|", SEMICOLON: ";", SPACE: " ", TAB: "\t" } as const;

/**
 * @param maxItems evaluated; AWS takes 0 for all
 * @throws StatesError States.ItemReaderFailed
 */
export async function readItems(
  port: ItemReaderPort,
  reader: ItemReader,
  args: Json,
  maxItems: number | undefined,
): Promise<Json[]> {
  if (maxItems !== undefined && maxItems < 0) throw failed("field MaxItems must be positive");
  let items: Json[];
  try {
    items = reader.Resource.endsWith(":s3:listObjectsV2")
      ? await listed(port, args)
      : parsed(reader.ReaderConfig ?? {}, await loaded(port, args));
  } catch (thrown) {
    if (thrown instanceof StatesError) throw thrown;
    throw failed(thrown instanceof Error ? thrown.message : String(thrown));
  }
  return maxItems ? items.slice(0, maxItems) : items;
}

const failed = (cause: string) => new StatesError(ERROR.itemReaderFailed, cause);

function textArgument(args: Json, name: string): string | undefined {
  const value = isObject(args) ? args[name] : undefined;
  if (value === undefined) return undefined;
  if (typeof value !== "string")
    throw failed(`The ItemReader's ${name} must be a string but was: ${JSON.stringify(value)}`);
  return value;
}

function required(args: Json, name: string): string {
  const value = textArgument(args, name);
  if (!value) throw failed(`The ItemReader's Arguments need ${name}.`);
  return value;
}

async function loaded(port: ItemReaderPort, args: Json): Promise<string> {
  const versionId = textArgument(args, "VersionId");
  const body = await port.getObject({
    bucket: required(args, "Bucket"),
    key: required(args, "Key"),
    ...(versionId === undefined ? {} : { versionId }),
  });
  return (typeof body === "string" ? body : new TextDecoder().decode(body)).replace(/^\uFEFF/, "");
}

async function listed(port: ItemReaderPort, args: Json): Promise<Json[]> {
  if (!port.listObjectsV2) throw failed("This machine's object store cannot list objects for an ItemReader.");
  const prefix = textArgument(args, "Prefix");
  const objects = await port.listObjectsV2({
    bucket: required(args, "Bucket"),
    ...(prefix === undefined ? {} : { prefix }),
  });
  return objects.map(({ key, bytes, etag, lastModifiedSeconds }) => ({
    Etag: etag,
    Key: key,
    LastModified: lastModifiedSeconds,
    Size: bytes,
    StorageClass: "STANDARD",
  }));
}

function parsed(config: NonNullable<ItemReader["ReaderConfig"]>, body: string): Json[] {
  switch (config.InputType) {
    case "JSONL":
      return body
        .split("\n")
        .map((line, i) => ({ line: line.trim(), number: i + 1 }))
        .filter(({ line }) => line !== "")
        .map(({ line, number }) => jsonOf(line, `line ${number}`));
    case "CSV":
      return csvItems(config, body);
    default: {
      const value = jsonOf(body, "the object");
      if (!Array.isArray(value)) throw failed("Attempting to map over non-iterable node.");
      return value;
    }
  }
}

function jsonOf(text: string, where: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch (thrown) {
    throw failed(`The ItemReader found no valid JSON in ${where}: ${(thrown as Error).message}.`);
  }
}

function csvItems(config: NonNullable<ItemReader["ReaderConfig"]>, body: string): Json[] {
  const rows = csvRows(body, DELIMITERS[config.CSVDelimiter ?? "COMMA"]);
  const headers = config.CSVHeaderLocation === "GIVEN" ? (config.CSVHeaders ?? []) : (rows.shift() ?? []);
  return rows.map((row) => {
    const item: JsonObject = {};
    for (const [i, header] of headers.entries()) item[header] = row[i] ?? "";
    return item;
  });
}

/** RFC 4180: quoted fields may hold delimiters, line breaks and doubled quotes. Empty lines are no rows. */
function csvRows(body: string, delimiter: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let field = "";
  let quoted = false;
  const endRow = () => {
    row.push(field);
    if (row.length > 1 || field !== "") rows.push(row);
    row = [];
    field = "";
  };
  for (let i = 0; i < body.length; i++) {
    const c = body[i]!;
    if (quoted) {
      if (c !== '"') field += c;
      else if (body[i + 1] === '"') field += body[++i];
      else quoted = false;
    } else if (c === '"' && field === "") quoted = true;
    else if (c === delimiter) {
      row.push(field);
      field = "";
    } else if (c === "\n") endRow();
    else if (c !== "\r") field += c;
  }
  endRow();
  return rows;
}

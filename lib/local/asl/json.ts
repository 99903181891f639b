// JSON values, and the sizes that Step Functions measures them by.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** Step Functions' limit on every input, output and result, in bytes of UTF-8. */
export const PAYLOAD_LIMIT_BYTES = 262_144;

export const isObject = (value: unknown): value is { [key: string]: unknown } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The name that AWS's messages give a value's type. */
export function typeName(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value;
}

export const exceedsPayloadLimit = (text: string): boolean =>
  text.length * 3 > PAYLOAD_LIMIT_BYTES && Buffer.byteLength(text, "utf8") > PAYLOAD_LIMIT_BYTES;

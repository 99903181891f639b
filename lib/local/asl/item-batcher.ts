// Groups a distributed Map's items, so that one child execution gets many.
// https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itembatcher.html
import { ERROR, StatesError } from "./errors.ts";
import { type Json, type JsonObject, PAYLOAD_LIMIT_BYTES } from "./json.ts";

export interface Batching {
  maxItems: number | undefined;
  maxBytes: number | undefined;
  input: Json | undefined;
}

/** @throws StatesError States.DataLimitExceeded when one item alone does not fit a batch */
export function readBatches(items: readonly Json[], batching: Batching): Json[] {
  const most = batching.maxItems && batching.maxItems > 0 ? batching.maxItems : Number.POSITIVE_INFINITY;
  const bytes = Math.min(
    batching.maxBytes && batching.maxBytes > 0 ? batching.maxBytes : PAYLOAD_LIMIT_BYTES,
    PAYLOAD_LIMIT_BYTES,
  );
  const around: JsonObject = batching.input === undefined ? {} : { BatchInput: batching.input };
  const empty = sizeOf({ ...around, Items: [] });
  const batches: Json[][] = [];
  let batch: Json[] = [];
  let size = empty;
  for (const item of items) {
    const added = sizeOf(item);
    if (empty + added > bytes)
      throw new StatesError(
        ERROR.dataLimitExceeded,
        `An item of ${added} bytes does not fit a batch of at most ${bytes} bytes with its BatchInput.`,
      );
    // A comma joins each further item to the batch.
    if (batch.length > 0 && (batch.length >= most || size + 1 + added > bytes)) {
      batches.push(batch);
      batch = [];
      size = empty;
    }
    size += added + (batch.length > 0 ? 1 : 0);
    batch.push(item);
  }
  if (batch.length > 0) batches.push(batch);
  return batches.map((each) => ({ ...around, Items: each }));
}

const sizeOf = (value: Json): number => Buffer.byteLength(JSON.stringify(value), "utf8");

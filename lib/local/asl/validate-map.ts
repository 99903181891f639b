// The rules of Map, inline and distributed.
import type { Fields } from "./definition-checker.ts";
import { step } from "./definition-error.ts";
import { isObject, PAYLOAD_LIMIT_BYTES } from "./json.ts";
import { expressionOf } from "./jsonata-evaluate.ts";
import { placeOf, type StateContext } from "./validate-state.ts";

const READERS = ["s3:getObject", "s3:listObjectsV2"];
const DISTRIBUTED_ONLY = ["ItemReader", "ItemBatcher", "Label"];
const most = Number.MAX_SAFE_INTEGER;

export function checkMap(context: StateContext, state: Fields): void {
  const { checker, pointer, name } = context;
  const place = placeOf(context);
  const { Items: items } = state;
  if (items !== undefined && !Array.isArray(items) && expressionOf(items) === undefined)
    checker.invalid(step(pointer, "Items"), items, "an array or a JSONata string");
  checker.template(state, "Items", pointer, place);
  checker.template(state, "ItemSelector", pointer, place);
  checker.numberOrExpression(state, "MaxConcurrency", pointer, { least: 0, most }, place);
  checker.numberOrExpression(state, "ToleratedFailureCount", pointer, { least: 0, most }, place);
  const percent = { least: 0, most: 100, integer: false };
  checker.numberOrExpression(state, "ToleratedFailurePercentage", pointer, percent, place);
  const processor = checker.object(state, "ItemProcessor", pointer);
  if (!processor) {
    if (state.ItemProcessor === undefined)
      checker.missing(pointer, "ItemProcessor", `The Map state '${name}'`, "a program");
    return;
  }
  const at = step(pointer, "ItemProcessor");
  checker.onlyFields(processor, ["StartAt", "States", "ProcessorConfig", "Comment"], at, "An ItemProcessor");
  const config = checker.object(processor, "ProcessorConfig", at) ?? {};
  const configAt = step(at, "ProcessorConfig");
  checker.onlyFields(config, ["Mode", "ExecutionType"], configAt, "A ProcessorConfig");
  checker.oneOf(config, "Mode", ["INLINE", "DISTRIBUTED"], configAt);
  checker.oneOf(config, "ExecutionType", ["STANDARD", "EXPRESS"], configAt);
  const distributed = config.Mode === "DISTRIBUTED";
  if (!distributed)
    for (const field of DISTRIBUTED_ONLY)
      if (state[field] !== undefined)
        checker.invalid(step(pointer, field), state[field], "absent where ProcessorConfig.Mode is not DISTRIBUTED");
  if (state.ItemReader !== undefined && items !== undefined)
    checker.invalid(step(pointer, "Items"), items, "absent where there is an ItemReader");
  checkReader(context, state);
  checkBatcher(context, state);
  if (state.Label !== undefined && (typeof state.Label !== "string" || !/^[A-Za-z0-9_-]{1,40}$/.test(state.Label)))
    checker.invalid(step(pointer, "Label"), state.Label, "1 to 40 letters, digits, - and _");
  // Step Functions gives the children of a distributed Map no variables of the states around it.
  context.program(processor, at, "An ItemProcessor", distributed);
}

function checkReader(context: StateContext, state: Fields): void {
  const { checker } = context;
  const reader = checker.object(state, "ItemReader", context.pointer);
  if (!reader) return;
  const at = step(context.pointer, "ItemReader");
  checker.onlyFields(reader, ["Resource", "Arguments", "ReaderConfig"], at, "An ItemReader");
  const resource = checker.string(reader, "Resource", at, "An ItemReader");
  if (resource !== undefined && !READERS.some((each) => resource.endsWith(`:states:::${each}`)))
    checker.report(
      "ResourceUnsupported",
      step(at, "Resource"),
      "This ItemReader's Resource is not supported.",
      "Use S3.",
      {
        got: resource,
        allowed: READERS.map((each) => `arn:aws:states:::${each}`).join(", "),
      },
    );
  checker.template(reader, "Arguments", at, placeOf(context));
  const config = checker.object(reader, "ReaderConfig", at) ?? {};
  const configAt = step(at, "ReaderConfig");
  const fields = ["InputType", "MaxItems", "CSVHeaderLocation", "CSVHeaders", "CSVDelimiter"];
  checker.onlyFields(config, fields, configAt, "A ReaderConfig");
  checker.oneOf(config, "InputType", ["JSONL", "JSON", "CSV"], configAt);
  if (resource?.endsWith(":s3:getObject") && config.InputType === undefined)
    checker.missing(configAt, "InputType", "The ReaderConfig of s3:getObject", "JSONL, JSON or CSV");
  checker.numberOrExpression(config, "MaxItems", configAt, { least: 0, most }, placeOf(context));
  checker.oneOf(config, "CSVHeaderLocation", ["FIRST_ROW", "GIVEN"], configAt);
  checker.oneOf(config, "CSVDelimiter", ["COMMA", "PIPE", "SEMICOLON", "SPACE", "TAB"], configAt);
  if (config.InputType === "CSV" && config.CSVHeaderLocation === undefined)
    checker.missing(configAt, "CSVHeaderLocation", "A reader of CSV", "FIRST_ROW or GIVEN");
  const headers = checker.array(config, "CSVHeaders", configAt);
  if (config.CSVHeaderLocation === "GIVEN" && !headers?.length)
    checker.missing(configAt, "CSVHeaders", "CSVHeaderLocation GIVEN", "the names of the columns");
}

function checkBatcher(context: StateContext, state: Fields): void {
  const { checker } = context;
  const batcher = checker.object(state, "ItemBatcher", context.pointer);
  if (!batcher) return;
  const at = step(context.pointer, "ItemBatcher");
  const place = placeOf(context);
  checker.onlyFields(batcher, ["MaxItemsPerBatch", "MaxInputBytesPerBatch", "BatchInput"], at, "An ItemBatcher");
  if (batcher.MaxItemsPerBatch === undefined && batcher.MaxInputBytesPerBatch === undefined)
    checker.missing(at, "MaxItemsPerBatch", "An ItemBatcher", "it or MaxInputBytesPerBatch");
  checker.numberOrExpression(batcher, "MaxItemsPerBatch", at, { least: 1, most }, place);
  checker.numberOrExpression(batcher, "MaxInputBytesPerBatch", at, { least: 1, most: PAYLOAD_LIMIT_BYTES }, place);
  if (
    batcher.BatchInput !== undefined &&
    !isObject(batcher.BatchInput) &&
    expressionOf(batcher.BatchInput) === undefined
  )
    checker.invalid(step(at, "BatchInput"), batcher.BatchInput, "an object");
  checker.template(batcher, "BatchInput", at, place);
}

// Which fields each type of state has, and what Step Functions has that this interpreter does not do.
import type { StateType } from "./definition.ts";

const EVERYWHERE = ["Type", "Comment", "QueryLanguage"];
const ONWARD = ["Next", "End", "Assign", "Output"];
const POLICIES = ["Retry", "Catch"];

export const STATE_FIELDS: { readonly [type in StateType]: readonly string[] } = {
  Task: [...EVERYWHERE, ...ONWARD, ...POLICIES, "Resource", "Arguments", "TimeoutSeconds", "HeartbeatSeconds"],
  Map: [
    ...EVERYWHERE,
    ...ONWARD,
    ...POLICIES,
    "Items",
    "ItemSelector",
    "ItemReader",
    "ItemBatcher",
    "ItemProcessor",
    "MaxConcurrency",
    "ToleratedFailureCount",
    "ToleratedFailurePercentage",
    "Label",
  ],
  Parallel: [...EVERYWHERE, ...ONWARD, ...POLICIES, "Branches", "Arguments"],
  Choice: [...EVERYWHERE, "Choices", "Default", "Assign", "Output"],
  Pass: [...EVERYWHERE, ...ONWARD],
  Wait: [...EVERYWHERE, ...ONWARD, "Seconds", "Timestamp"],
  Succeed: [...EVERYWHERE, "Output"],
  Fail: [...EVERYWHERE, "Error", "Cause"],
};

export const STATE_TYPES = Object.keys(STATE_FIELDS) as StateType[];

/** Step Functions' JSONPath fields, with what a JSONata state has instead. */
export const JSONPATH_FIELDS: { readonly [field: string]: string } = {
  InputPath: "Refer to $states.input in the field that needs it.",
  OutputPath: "Use Output.",
  Parameters: "Use Arguments (in a Map: ItemSelector).",
  Result: "Use Output.",
  ResultPath: "Use Output, with $states.input and $states.result.",
  ResultSelector: "Use Output.",
  ItemsPath: "Use Items.",
  MaxConcurrencyPath: "Use MaxConcurrency.",
  MaxItemsPath: "Use MaxItems.",
  MaxItemsPerBatchPath: "Use MaxItemsPerBatch.",
  MaxInputBytesPerBatchPath: "Use MaxInputBytesPerBatch.",
  ToleratedFailureCountPath: "Use ToleratedFailureCount.",
  ToleratedFailurePercentagePath: "Use ToleratedFailurePercentage.",
  SecondsPath: "Use Seconds.",
  TimestampPath: "Use Timestamp.",
  TimeoutSecondsPath: "Use TimeoutSeconds.",
  HeartbeatSecondsPath: "Use HeartbeatSeconds.",
  ErrorPath: "Use Error.",
  CausePath: "Use Cause.",
  Variable: "Use Condition.",
};

/** Fields that Step Functions knows in JSONata states and this interpreter refuses. */
export const UNSUPPORTED_FIELDS: { readonly [field: string]: string } = {
  Credentials: "Tasks here run as whoever started the run: give the one role to the state machine.",
  ResultWriter: "Let each child write its own result object, and pass keys.",
  Iterator: "Use ItemProcessor.",
  ItemsPointer: "Write the items as a JSON Lines object.",
  Transformation: "Use s3:getObject on a list that a state has written.",
};

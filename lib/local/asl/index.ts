// The States Language interpreter: what the rest of lib/local uses of it.
//
// It runs JSONata state machines as AWS Step Functions does, with the same results, errors and histories; the test
// beside it replays histories recorded from AWS. What it does not do, validateDefinition refuses by name: JSONPath,
// callbacks, activities, Credentials, ResultWriter, and ItemReaders of other formats than JSONL, JSON and CSV.
//
// Where AWS documents nothing, or nobody has seen it on a real account, the code says so. Known differences: AWS ends
// an execution at 25,000 events and this does not; a HeartbeatSeconds is recorded and has no effect, as no integration
// but a refused one sends heartbeats; AWS bounds an expression's memory and steps more tightly.

export { AslDefinitionError, type Problem } from "./definition-error.ts";
export { ERROR, StatesError, TaskAbort } from "./errors.ts";
export { type ExecutionRequest, type ExecutionResult, runExecution, type StateMachineIdentity } from "./execution.ts";
export { childHistories, type HistoryEvent, isTerminal, ownHistory } from "./history-event.ts";
export type { Sink } from "./journal.ts";
export type { Json, JsonObject } from "./json.ts";
export {
  type Clock,
  type ItemReaderPort,
  type Iteration,
  type S3Object,
  systemClock,
  type TaskRequest,
  type TaskRunner,
} from "./ports.ts";
export { checkDefinition, validateDefinition } from "./validate-definition.ts";

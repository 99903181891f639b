// The States Language interpreter: what the rest of lib/local uses of it.

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

// The shape of a state machine after it was validated. Fields that AWS evaluates as JSONata are typed Json.
import type { Json, JsonObject } from "./json.ts";

export type StateType = "Task" | "Map" | "Parallel" | "Choice" | "Pass" | "Wait" | "Succeed" | "Fail";

export interface Retrier {
  ErrorEquals: string[];
  IntervalSeconds?: number;
  BackoffRate?: number;
  MaxAttempts?: number;
  MaxDelaySeconds?: number;
  JitterStrategy?: "FULL" | "NONE";
}

export interface Catcher {
  ErrorEquals: string[];
  Next: string;
  Assign?: JsonObject;
  Output?: Json;
}

export interface ChoiceRule {
  Condition: Json;
  Next: string;
  Assign?: JsonObject;
  Output?: Json;
}

export interface ItemReader {
  Resource: string;
  Arguments?: Json;
  ReaderConfig?: {
    InputType?: "JSON" | "JSONL" | "CSV";
    MaxItems?: Json;
    CSVHeaderLocation?: "FIRST_ROW" | "GIVEN";
    CSVHeaders?: string[];
    CSVDelimiter?: "COMMA" | "PIPE" | "SEMICOLON" | "SPACE" | "TAB";
  };
}

export interface ItemBatcher {
  MaxItemsPerBatch?: Json;
  MaxInputBytesPerBatch?: Json;
  BatchInput?: Json;
}

export interface Program {
  StartAt: string;
  States: { [name: string]: State };
}

export interface ItemProcessor extends Program {
  ProcessorConfig?: { Mode?: "INLINE" | "DISTRIBUTED"; ExecutionType?: "STANDARD" | "EXPRESS" };
}

export interface State {
  Type: StateType;
  Comment?: string;
  QueryLanguage?: string;
  Next?: string;
  End?: boolean;
  Assign?: JsonObject;
  Output?: Json;
  Arguments?: Json;
  Retry?: Retrier[];
  Catch?: Catcher[];
  // Task
  Resource?: string;
  TimeoutSeconds?: Json;
  HeartbeatSeconds?: Json;
  // Map
  Items?: Json;
  ItemSelector?: Json;
  ItemReader?: ItemReader;
  ItemBatcher?: ItemBatcher;
  ItemProcessor?: ItemProcessor;
  MaxConcurrency?: Json;
  ToleratedFailureCount?: Json;
  ToleratedFailurePercentage?: Json;
  Label?: string;
  // Parallel
  Branches?: Program[];
  // Choice
  Choices?: ChoiceRule[];
  Default?: string;
  // Wait
  Seconds?: Json;
  Timestamp?: Json;
  // Fail
  Error?: Json;
  Cause?: Json;
}

export interface StateMachine extends Program {
  Comment?: string;
  QueryLanguage?: string;
  Version?: string;
  TimeoutSeconds?: number;
}

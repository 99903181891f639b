// Refuses, before anything starts, every state machine that this interpreter would run otherwise than AWS.
import type { StateMachine } from "./definition.ts";
import { DefinitionChecker, type Fields } from "./definition-checker.ts";
import { AslDefinitionError, type Problem, quoted, step } from "./definition-error.ts";
import { isObject } from "./json.ts";
import { STATE_FIELDS, STATE_TYPES } from "./state-fields.ts";
import { checkState, type StateContext } from "./validate-state.ts";

const LONGEST_SECONDS = 99_999_999;
const LONGEST_NAME = 80;

/**
 * @returns the definition, now known to be one
 * @throws AslDefinitionError with every problem: code, JSON pointer, what was got, what is allowed, what to do
 */
export function validateDefinition(definition: unknown): StateMachine {
  const { errors } = checkDefinition(definition);
  if (errors.length > 0) throw new AslDefinitionError(errors);
  return definition as StateMachine;
}

/**
 * Everything that can be found without running. `warnings` are variables that nothing assigns: AWS accepts such a
 * machine, and fails when it gets there.
 */
export function checkDefinition(definition: unknown): { errors: Problem[]; warnings: Problem[] } {
  const checker = new DefinitionChecker();
  if (!isObject(definition)) {
    const message = "A definition must be a JSON object.";
    checker.report("DefinitionNotObject", "", message, "Give the parsed state machine.", {
      got: definition,
      allowed: "an object with StartAt and States",
    });
    return checker;
  }
  const top = ["Comment", "QueryLanguage", "StartAt", "States", "TimeoutSeconds", "Version"];
  checker.onlyFields(definition, top, "", "A state machine");
  checker.oneOf(definition, "QueryLanguage", ["JSONata", "JSONPath"], "");
  checker.number(definition, "TimeoutSeconds", "", { least: 1, most: LONGEST_SECONDS });
  const walk: Walk = {
    checker,
    language: typeof definition.QueryLanguage === "string" ? definition.QueryLanguage : "JSONPath",
    names: new Map(),
  };
  checkProgram(walk, definition, "", "A state machine", new Set());
  return checker;
}

interface Walk {
  checker: DefinitionChecker;
  /** The machine's: the default of every state in it, however deep. */
  language: string;
  /** Pointer of each state by name: names are unique in the whole machine. */
  names: Map<string, string>;
}

function checkProgram(walk: Walk, program: Fields, pointer: string, what: string, outer: ReadonlySet<string>): void {
  const { checker } = walk;
  const startAt = checker.string(program, "StartAt", pointer, what);
  const states = checker.object(program, "States", pointer);
  if (!states) {
    if (program.States === undefined) checker.missing(pointer, "States", what, "an object of states");
    return;
  }
  const at = step(pointer, "States");
  const entries = Object.entries(states);
  if (entries.length === 0) checker.invalid(at, states, "an object with at least one state");
  if (startAt !== undefined && !Object.hasOwn(states, startAt))
    missingTarget(checker, step(pointer, "StartAt"), startAt, states);
  const variables = new Set([...outer, ...assignedNames(states)]);
  for (const [name, state] of entries) {
    const where = step(at, name);
    checkName(walk, name, where);
    if (!isObject(state)) {
      checker.invalid(where, state, "an object");
      continue;
    }
    if (!checkKind(walk, state, name, where)) continue;
    const context: StateContext = {
      checker,
      name,
      pointer: where,
      variables,
      outerVariables: outer,
      target: (field, holder, holderPointer) => {
        const next = checker.string(holder, field, holderPointer, `The state '${name}'`);
        if (next !== undefined && !Object.hasOwn(states, next))
          missingTarget(checker, step(holderPointer, field), next, states);
      },
      program: (inner, innerPointer, label, isolated) =>
        checkProgram(walk, inner, innerPointer, label, isolated ? new Set() : variables),
    };
    checkState(context, state);
  }
  checkReachable(checker, startAt, states, at);
}

function missingTarget(checker: DefinitionChecker, pointer: string, name: string, states: Fields): void {
  checker.report("TargetMissing", pointer, `There is no state '${name}' here.`, "Correct the name or add the state.", {
    got: name,
    allowed: Object.keys(states).join(", "),
  });
}

function checkName(walk: Walk, name: string, pointer: string): void {
  const known = walk.names.get(name);
  const allowed = `a name of 1 to ${LONGEST_NAME} characters that no other state of the machine has`;
  if (known !== undefined)
    walk.checker.report(
      "StateNameInvalid",
      pointer,
      `Another state is named '${name}' too, at ${known}.`,
      "Rename one.",
      {
        got: name,
        allowed,
      },
    );
  if (name === "" || name.length > LONGEST_NAME)
    walk.checker.report("StateNameInvalid", pointer, "A state's name is too long or empty.", "Shorten it.", {
      got: name,
      allowed,
    });
  walk.names.set(name, pointer);
}

/** @returns true for a JSONata state of a known type */
function checkKind({ checker, language }: Walk, state: Fields, name: string, pointer: string): boolean {
  const own = state.QueryLanguage;
  checker.oneOf(state, "QueryLanguage", ["JSONata", "JSONPath"], pointer);
  if (own === "JSONPath" && language === "JSONata") {
    const message = "A state cannot use JSONPath in a state machine that uses JSONata.";
    checker.report("QueryLanguageUnsupported", step(pointer, "QueryLanguage"), message, "Remove QueryLanguage.", {
      got: own,
      allowed: "JSONata",
    });
    return false;
  }
  if ((own ?? language) === "JSONPath") {
    const message = `The state '${name}' uses JSONPath, and the local interpreter runs JSONata only.`;
    const remedy = 'Set "QueryLanguage": "JSONata" for the state machine and use its fields.';
    checker.report("QueryLanguageUnsupported", pointer, message, remedy, { got: own ?? language, allowed: "JSONata" });
    return false;
  }
  const type = state.Type;
  if (type === undefined) {
    checker.missing(pointer, "Type", `The state '${name}'`, `one of ${STATE_TYPES.join(", ")}`);
    return false;
  }
  if (typeof type !== "string" || !Object.hasOwn(STATE_FIELDS, type)) {
    const message = `${quoted(type)} is no type of state.`;
    checker.report("StateTypeUnknown", step(pointer, "Type"), message, "Use one of the types.", {
      got: type,
      allowed: STATE_TYPES.join(", "),
    });
    return false;
  }
  return true;
}

function checkReachable(
  checker: DefinitionChecker,
  startAt: string | undefined,
  states: Fields,
  pointer: string,
): void {
  const reached = new Set<string>();
  const visit = (name: unknown) => {
    if (typeof name !== "string" || reached.has(name) || !isObject(states[name])) return;
    reached.add(name);
    const state = states[name];
    visit(state.Next);
    visit(state.Default);
    for (const list of [state.Catch, state.Choices])
      for (const item of Array.isArray(list) ? list : []) if (isObject(item)) visit(item.Next);
  };
  visit(startAt);
  if (startAt === undefined || !Object.hasOwn(states, startAt)) return;
  for (const name of Object.keys(states))
    if (!reached.has(name))
      checker.report(
        "StateUnreachable",
        step(pointer, name),
        `No state leads to '${name}'.`,
        "Lead to it or remove it.",
        {
          got: name,
        },
      );
}

/** Variables that the states of one scope assign, those in nested scopes not included. */
function assignedNames(states: Fields): string[] {
  return Object.values(states).flatMap((state) => {
    if (!isObject(state)) return [];
    const rules = [state.Catch, state.Choices].flatMap((list) => (Array.isArray(list) ? list : []));
    return [state, ...rules].flatMap((holder) =>
      isObject(holder) && isObject(holder.Assign) ? Object.keys(holder.Assign) : [],
    );
  });
}

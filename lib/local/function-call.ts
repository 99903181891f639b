// lambda:invoke in this process: the core of a lambda behind the name that the state machine gives it.
import { type ErrorDocument, VoxelburstError } from "../contracts/index.ts";
import { StatesError } from "./asl/errors.ts";
import type { TaskRequest } from "./asl/ports.ts";
import { isDiskError } from "./disk-error.ts";
import { argumentsOf, type JsonRecord, sdkMetadata } from "./job-host.ts";

/** A lambda's core with its ports bound. */
export type LambdaFunction = (payload: unknown) => Promise<unknown>;

/**
 * @param functions - by a word of the function's name: {plan: ...} answers to PlanFunction...
 * @param onError - told of the error document, whose remedy Lambda's Cause has no place for
 * @throws VoxelburstError DiskFull and its like, which are this machine's
 * @throws StatesError named as the error that the function threw, with Lambda's {errorType, errorMessage, trace} as Cause
 */
export async function invokeFunction(
  request: TaskRequest,
  functions: Readonly<Record<string, LambdaFunction>>,
  onError: (error: ErrorDocument) => void = () => undefined,
): Promise<JsonRecord> {
  const { FunctionName, Payload = null } = argumentsOf(request);
  const bound = functionNamed(FunctionName, functions);
  if (!bound) throw new StatesError("Lambda.ResourceNotFoundException", `Function not found: ${String(FunctionName)}`);
  // Through JSON, as a function on AWS gets and gives it: what does not survive that must not work here either.
  const payload: unknown = JSON.parse(JSON.stringify(Payload));
  try {
    const answer = await bound(payload);
    return {
      ExecutedVersion: "$LATEST",
      Payload: answer === undefined ? null : JSON.parse(JSON.stringify(answer)),
      StatusCode: 200,
      ...sdkMetadata,
    };
  } catch (error) {
    // Lambda has no such failure, so the state machine is not told of one: it would catch it and go on without.
    if (isDiskError(error)) throw error;
    if (error instanceof VoxelburstError) onError(error.toDocument());
    const thrown = error instanceof Error ? error : new Error(String(error));
    const trace = (thrown.stack ?? "").split("\n");
    // The handlers on AWS put the whole error document into the message: see lambdas/clients/log-errors.ts.
    const errorMessage = error instanceof VoxelburstError ? JSON.stringify(error.toDocument()) : thrown.message;
    throw new StatesError(thrown.name, JSON.stringify({ errorType: thrown.name, errorMessage, trace }));
  }
}

/** The function whose word the name contains: logical names are made of the path of a construct. */
export function functionNamed(
  name: unknown,
  functions: Readonly<Record<string, LambdaFunction>>,
): LambdaFunction | undefined {
  if (typeof name !== "string") return undefined;
  const last = name.split(":").filter(Boolean).at(-1)!.toLowerCase();
  const words = Object.keys(functions).filter((word) => last.includes(word.toLowerCase()));
  return words.length === 1 ? functions[words[0]!] : undefined;
}

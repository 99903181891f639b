// What a Task's Resource names.

export type Integration =
  | { kind: "lambda" }
  | { kind: "activity" }
  | { kind: "service"; resource: string; resourceType: string; pattern: "request-response" | "sync" | "callback" }
  | { kind: "unknown" };

const SERVICE =
  /^arn:[^:]*:states:[^:]*:[^:]*:(aws-sdk:[A-Za-z0-9]+|[A-Za-z0-9-]+):([A-Za-z0-9]+(?:\.[A-Za-z]+(?::2)?)?)$/;

export type Known = Extract<Integration, { kind: "lambda" | "service" }>;

export function readResource(arn: string): Integration {
  if (/^arn:[^:]*:lambda:[^:]*:[^:]*:function:.+$/.test(arn)) return { kind: "lambda" };
  if (/^arn:[^:]*:states:[^:]*:[^:]*:activity:.+$/.test(arn)) return { kind: "activity" };
  const [, resourceType, resource] = SERVICE.exec(arn) ?? [];
  if (resourceType === undefined || resource === undefined) return { kind: "unknown" };
  const suffix = resource.split(".")[1];
  const pattern =
    suffix === undefined
      ? "request-response"
      : suffix === "waitForTaskToken"
        ? "callback"
        : suffix === "sync" || suffix === "sync:2"
          ? "sync"
          : undefined;
  if (pattern === undefined) return { kind: "unknown" };
  return { kind: "service", resource, resourceType, pattern };
}

/** For a validated Resource. */
export function integrationOf(arn: string): Known {
  const integration = readResource(arn);
  if (integration.kind === "lambda" || integration.kind === "service") return integration;
  throw new Error(`The resource ${arn} was not refused by the validator.`);
}

// Findings of cdk-nag (AwsSolutions, HIPAA.Security) that stay, acknowledged where they arise with the reason why.
import { Stack, Validations } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import type { IConstruct } from "constructs";

/** @param reasons - by rule, for example { "HIPAA.Security-LambdaDLQ": "its caller waits for the answer" } */
export function acknowledge(construct: IConstruct, reasons: Record<string, string>): void {
  for (const [id, reason] of Object.entries(reasons)) Validations.of(construct).acknowledge({ id, reason });
}

/**
 * Wildcards of the policies below a construct: each that fits a pattern, for its reason. cdk-nag wants every one of them
 * by the name that it has in the template, which is known only when references between stacks have been resolved.
 *
 * @param wildcards - a resource or an action, or the pattern of several, and why it has to have a wildcard
 */
export function acknowledgeWildcards(
  construct: IConstruct,
  wildcards: readonly (readonly [RegExp | string, string])[],
): void {
  construct.node.addValidation({
    validate: () => {
      for (const policy of construct.node.findAll().filter((node) => node instanceof iam.CfnPolicy))
        for (const finding of wildcardsIn(Stack.of(policy).resolve(policy.policyDocument))) {
          const reason = wildcards.find(([name]) =>
            typeof name === "string"
              ? nagName(Stack.of(policy).resolve(name)) === finding.text
              : name.test(finding.text),
          )?.[1];
          if (reason) acknowledge(policy, { [`AwsSolutions-IAM5[${finding.kind}::${finding.text}]`]: reason });
        }
      return [];
    },
  });
}

/**
 * The policies of roles. A role's inline policy lives and dies with it and belongs to nobody else; that is what is wanted
 * of roles that each have one use. A policy of anything else stays a finding.
 */
export function acknowledgeRolePolicies(scope: IConstruct): void {
  scope.node.addValidation({
    validate: () => {
      for (const policy of scope.node.findAll().filter((node) => node instanceof iam.CfnPolicy)) {
        const { roles, users, groups } = policy;
        const holders = Stack.of(policy).resolve({ roles, others: [users, groups] });
        if (holders.roles?.length === 1 && holders.others.every((each?: unknown[]) => !each?.length))
          acknowledge(policy, {
            "HIPAA.Security-IAMNoInlinePolicy": "belongs to one role of one use, and lives and dies with it",
          });
      }
      return [];
    },
  });
}

interface Wildcard {
  readonly kind: "Action" | "Resource";
  readonly text: string;
}

interface PolicyDocument {
  readonly Statement: readonly {
    readonly Effect: string;
    readonly Action?: string | string[];
    readonly Resource?: unknown;
  }[];
}

function wildcardsIn({ Statement }: PolicyDocument): Wildcard[] {
  return Statement.filter(({ Effect }) => Effect === "Allow")
    .flatMap(({ Action, Resource }): Wildcard[] => [
      ...[Action ?? []].flat().map((text) => ({ kind: "Action" as const, text })),
      ...[Resource ?? []].flat().map((each) => ({ kind: "Resource" as const, text: nagName(each) })),
    ])
    .filter(({ text }) => text.includes("*"));
}

/** A reference of a template as cdk-nag writes it into the id of a finding. */
function nagName(value: unknown): string {
  if (typeof value === "string") return value.replaceAll("${", "<").replaceAll("}", ">");
  const [[intrinsic, argument]] = Object.entries(value as Record<string, unknown>) as [[string, unknown]];
  switch (intrinsic) {
    case "Fn::Join": {
      const [separator, parts] = argument as [string, unknown[]];
      return parts.map(nagName).join(separator);
    }
    case "Fn::Sub":
    case "Fn::ImportValue":
      return nagName(argument);
    case "Fn::GetAtt":
      return `<${(argument as string[]).map(nagName).join(".")}>`;
    case "Ref":
      return `<${nagName(argument)}>`;
    default:
      return JSON.stringify(value);
  }
}

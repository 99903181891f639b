// The roles of the synthesised app with their statements, as they stand in an account where everything has a name.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { DeploymentInput } from "../../lib/contracts/index.ts";
import { voxelburstApp } from "../../lib/stacks/voxelburst-app.ts";
import type { Statement } from "./evaluate.ts";

interface Resource {
  Type: string;
  Properties: Record<string, never>;
}
interface Template {
  Resources: Record<string, Resource>;
  Outputs?: Record<string, { Value: unknown; Export?: { Name: string } }>;
}

export interface Role {
  name: string;
  /** Who assumes it. */
  principal: string;
  managed: string[];
  statements: Statement[];
}

export const ACCOUNT = "123456789012";
export const REGION = "us-east-1";
const PSEUDO: Record<string, string> = {
  "AWS::Partition": "aws",
  "AWS::Region": REGION,
  "AWS::AccountId": ACCOUNT,
  "AWS::URLSuffix": "amazonaws.com",
};

/** By the beginning of a logical id: what a resource is called in the account. */
export type Names = Readonly<Record<string, string>>;

export const arnOf = (service: string, rest: string) => `arn:aws:${service}:${REGION}:${ACCOUNT}:${rest}`;
export const KEY_ARN = arnOf("kms", "key/data");

/**
 * @param names - of buckets, tables, topic, secret and state machine
 * @param deployment - @default - the default configuration
 */
export function rolesOf(names: Names, deployment?: DeploymentInput): Map<string, Role> {
  const outdir = mkdtempSync(path.join(tmpdir(), "voxelburst-roles-"));
  try {
    const app = voxelburstApp({
      outdir,
      context: { "aws:cdk:bundling-stacks": [], ...(deployment && { voxelburst: deployment }) },
    });
    const templates = app.synth().stacks.map(({ template }) => template as Template);
    const resolver = new Resolver(templates, names);
    const roles = new Map<string, Role>();
    for (const template of templates)
      for (const [id, { Type, Properties }] of Object.entries(template.Resources))
        if (Type === "AWS::IAM::Role") roles.set(id, resolver.role(template, id, Properties));
    return roles;
  } finally {
    rmSync(outdir, { recursive: true });
  }
}

class Resolver {
  private readonly templates: readonly Template[];
  private readonly names: Names;

  constructor(templates: readonly Template[], names: Names) {
    this.templates = templates;
    this.names = names;
  }

  role(template: Template, id: string, properties: Record<string, unknown>): Role {
    const inline = (properties.Policies ?? []) as { PolicyDocument: { Statement: object[] } }[];
    const attached = Object.values(template.Resources)
      .filter(
        ({ Type, Properties }) => Type === "AWS::IAM::Policy" && JSON.stringify(Properties.Roles).includes(`"${id}"`),
      )
      .flatMap(({ Properties }) => (Properties.PolicyDocument as unknown as { Statement: object[] }).Statement);
    const trust = properties.AssumeRolePolicyDocument as unknown as { Statement: [{ Principal: { Service: string } }] };
    return {
      name: id,
      principal: this.resolve(trust.Statement[0].Principal.Service, template) as string,
      managed: ((properties.ManagedPolicyArns ?? []) as unknown[]).map((arn) => String(this.resolve(arn, template))),
      statements: this.resolve(
        [...inline.flatMap(({ PolicyDocument }) => PolicyDocument.Statement), ...attached],
        template,
      ) as Statement[],
    };
  }

  private resolve(value: unknown, template: Template): unknown {
    if (Array.isArray(value)) return value.map((each) => this.resolve(each, template));
    if (value === null || typeof value !== "object") return value;
    const entries = Object.entries(value);
    const [[intrinsic, argument]] = entries as [[string, never]];
    const resolved = (one: unknown) => this.resolve(one, template) as never;
    switch (entries.length === 1 ? intrinsic : "") {
      case "Ref":
        return PSEUDO[argument] ?? this.ref(argument, template);
      case "Fn::GetAtt":
        return this.attribute(argument[0], argument[1], template);
      case "Fn::Join":
        return (resolved(argument[1]) as string[]).join(argument[0]);
      case "Fn::Select":
        return (resolved(argument[1]) as unknown[])[Number(argument[0])];
      case "Fn::Split":
        return (resolved(argument[1]) as string).split(argument[0]);
      case "Fn::Sub":
        return (argument as string).replaceAll(/\$\{([^}]+)\}/g, (_, name: string) => String(resolved({ Ref: name })));
      case "Fn::ImportValue":
        return this.imported(argument);
      default:
        return Object.fromEntries(entries.map(([name, each]) => [name, this.resolve(each, template)]));
    }
  }

  private imported(name: string): unknown {
    for (const template of this.templates)
      for (const { Value, Export } of Object.values(template.Outputs ?? {}))
        if (Export?.Name === name) return this.resolve(Value, template);
    throw new Error(`nothing is exported as ${name}`);
  }

  private name(id: string): string {
    const known = Object.keys(this.names).find((start) => id.startsWith(start));
    return known ? this.names[known]! : id;
  }

  /** Ref is an ARN of some types and a name of the others. */
  private ref(id: string, template: Template): string {
    const type = template.Resources[id]?.Type;
    const isArn = /SNS::Topic|StateMachine$|Secret$|JobDefinition$|Batch::/.test(type ?? "");
    return isArn ? this.attribute(id, "Arn", template) : this.name(id);
  }

  private attribute(id: string, attribute: string, template: Template): string {
    const name = this.name(id);
    if (name.startsWith("arn:")) return name;
    switch (template.Resources[id]?.Type) {
      case "AWS::S3::Bucket":
        return `arn:aws:s3:::${name}`;
      case "AWS::KMS::Key":
        return id.startsWith("StorageKey") ? KEY_ARN : arnOf("kms", `key/${name}`);
      case "AWS::DynamoDB::Table":
        return arnOf("dynamodb", `table/${name}`);
      case "AWS::Logs::LogGroup":
        return arnOf("logs", `log-group:${name}:*`);
      case "AWS::SecretsManager::Secret":
        return arnOf("secretsmanager", `secret:${name}`);
      case "AWS::SNS::Topic":
        return arnOf("sns", name);
      case "AWS::StepFunctions::StateMachine":
        return arnOf("states", `stateMachine:${name}`);
      case "AWS::Lambda::Function":
        return arnOf("lambda", `function:${name}`);
      case "AWS::IAM::Role":
        return `arn:aws:iam::${ACCOUNT}:role/${name}`;
      case "AWS::SQS::Queue":
        return arnOf("sqs", name);
      default:
        return attribute.endsWith("Arn") || attribute === "Arn" ? arnOf("other", name) : `${name}.${attribute}`;
    }
  }
}

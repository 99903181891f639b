// A deployed definition with CloudFormation's references replaced by readable names: ${IngestJobDefinition}.
import { type App, CfnElement, Stack } from "aws-cdk-lib";

/** What Fn::Join and friends look like in a template. */
type Value = string | { [intrinsic: string]: unknown };

/**
 * The definition of a synthesised state machine, as an object.
 *
 * @param stack - the stack that has the machine
 * @param definitionString - DefinitionString as it stands in the stack's template
 * @throws Error that names an intrinsic function which it does not know
 */
export function flattenDefinition(stack: Stack, definitionString: Value): object {
  const names = new LogicalNames(stack.node.root as App);
  return JSON.parse(flatten(definitionString, stack, names));
}

function flatten(value: Value, stack: Stack, names: LogicalNames): string {
  if (typeof value === "string") return value;
  const [[intrinsic, argument]] = Object.entries(value) as [[string, unknown]];
  switch (intrinsic) {
    case "Fn::Join": {
      const [separator, parts] = argument as [string, Value[]];
      return parts.map((part) => flatten(part, stack, names)).join(separator);
    }
    case "Ref":
      return argument === "AWS::Partition" ? "aws" : names.of(stack, argument as string);
    case "Fn::GetAtt":
      return names.of(stack, (argument as [string, string])[0]);
    case "Fn::ImportValue":
      return names.ofExport(argument as string);
    case "Fn::Sub":
      // An asset's URI: its hash changes with every line of Python.
      if (/container-assets/.test(argument as string)) return placeholder("Image");
  }
  throw new Error(`the definition has ${intrinsic} of ${JSON.stringify(argument)}, which has no readable name`);
}

class LogicalNames {
  private readonly names = new Map<string, string>();
  private readonly stacks = new Map<string, Stack>();

  constructor(app: App) {
    for (const construct of app.node.findAll()) {
      if (Stack.isStack(construct)) this.stacks.set(construct.stackName, construct);
      if (!CfnElement.isCfnElement(construct)) continue;
      const id = construct.stack.resolve(construct.logicalId) as string;
      // The construct's path below its stack, without the words that only say "the resource of".
      const words = construct.node.path
        .split("/")
        .slice(1)
        .filter((word) => word !== "Resource" && word !== "Default");
      this.names.set(`${construct.stack.stackName}:${id}`, words.filter((word, i) => word !== words[i - 1]).join(""));
    }
  }

  of(stack: Stack, logicalId: string): string {
    const name = this.names.get(`${stack.stackName}:${logicalId}`);
    if (!name) throw new Error(`no construct has the logical id ${logicalId}`);
    return placeholder(name);
  }

  /** CDK names an export after what it exports: <stack>:ExportsOutput(Ref|FnGetAtt)<logical id>[<attribute>]<hash>. */
  ofExport(exported: string): string {
    const [stackName, output] = exported.split(/:(.*)/s) as [string, string];
    const stack = this.stacks.get(stackName);
    const rest = output?.replace(/^ExportsOutput(Ref|FnGetAtt)/, "") ?? "";
    const id = [...this.names.keys()]
      .filter((name) => name.startsWith(`${stackName}:`))
      .map((name) => name.slice(stackName.length + 1))
      .filter((logicalId) => rest.startsWith(logicalId))
      .sort((a, b) => b.length - a.length)[0];
    if (!stack || !id) throw new Error(`no construct is exported as ${exported}`);
    return this.of(stack, id);
  }
}

const placeholder = (name: string): string => `\${${name}}`;

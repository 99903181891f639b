// The deployment in this account and region, by the outputs of its stacks.
import { CloudFormationClient, DescribeStacksCommand, type Stack } from "@aws-sdk/client-cloudformation";
import { OUTPUTS, type OutputName, STACKS, VoxelburstError } from "../contracts/index.ts";

export type Deployed = Readonly<Record<OutputName, string>>;

/** @returns the stack, or undefined where there is none of that name */
export async function describeStack(
  name: string,
  client: CloudFormationClient = new CloudFormationClient({}),
): Promise<Stack | undefined> {
  try {
    return (await client.send(new DescribeStacksCommand({ StackName: name }))).Stacks?.[0];
  } catch (error) {
    // CloudFormation has no error of its own for this.
    if ((error as Error).name === "ValidationError" && /does not exist/.test((error as Error).message))
      return undefined;
    throw error;
  }
}

/** @throws VoxelburstError NotDeployed, or OutputMissing where the stack is of another version of the software */
export async function findDeployed(): Promise<Deployed> {
  const stack = await describeStack(STACKS.workflow);
  if (!stack)
    throw new VoxelburstError(
      "NotDeployed",
      `There is no stack ${STACKS.workflow} in this account and region.`,
      "`voxelburst deploy` makes it; AWS_PROFILE and AWS_REGION choose account and region.",
    );
  const found = new Map(stack.Outputs?.map(({ OutputKey, OutputValue }) => [OutputKey, OutputValue]));
  const missing = Object.values(OUTPUTS).filter((name) => !found.get(name));
  if (missing.length > 0)
    throw new VoxelburstError(
      "OutputMissing",
      `The stack ${STACKS.workflow} (${stack.StackStatus}) has no output ${missing.join(", ")}.`,
      "Deploy the stacks of this version: `voxelburst deploy`.",
      { got: stack.StackStatus },
    );
  return Object.fromEntries(
    Object.entries(OUTPUTS).map(([name, key]) => [name, found.get(key)!]),
  ) as unknown as Deployed;
}

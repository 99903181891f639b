// Changes of a configuration as CloudFormation takes them, stack by stack: an export may not go while a deployed stack
// imports it, and an import has to be there already. docs/deploy.md says which order works.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import type { DeploymentInput } from "../../lib/contracts/deployment.ts";
import { voxelburstApp } from "../../lib/stacks/voxelburst-app.ts";

interface Ports {
  exports: Set<string>;
  imports: Set<string>;
}
/** The stacks of a configuration, in the order of `cdk deploy --all`. */
type Stacks = Map<string, Ports>;

function stacksOf(voxelburst: DeploymentInput): Stacks {
  const outdir = mkdtempSync(path.join(tmpdir(), "voxelburst-removal-"));
  try {
    const app = voxelburstApp({ outdir, context: { voxelburst, "aws:cdk:bundling-stacks": [] } });
    // `stacks` is sorted by dependency, as the CLI deploys them.
    return new Map(app.synth().stacks.map(({ stackName, template }) => [stackName, portsOf(template)]));
  } finally {
    rmSync(outdir, { recursive: true });
  }
}

function portsOf(template: { Outputs?: Record<string, { Export?: { Name: string } }> }): Ports {
  const names = Object.values(template.Outputs ?? {}).flatMap(({ Export }) => (Export ? [Export.Name] : []));
  const imports = [...JSON.stringify(template).matchAll(/"Fn::ImportValue":"([^"]+)"/g)].map(([, name]) => name!);
  return { exports: new Set(names), imports: new Set(imports) };
}

/** Deploys some of a configuration's stacks in turn. @returns what CloudFormation would say to the first that fails */
function deploy(account: Stacks, wanted: Stacks, names: readonly string[] = [...wanted.keys()]): string | undefined {
  for (const name of names) {
    const stack = wanted.get(name)!;
    const others = [...account].filter(([other]) => other !== name);
    for (const [other, { imports }] of others)
      for (const each of account.get(name)?.exports ?? [])
        if (!stack.exports.has(each) && imports.has(each)) return `${name}: an export is in use by ${other}`;
    for (const each of stack.imports)
      if (!others.some(([, { exports }]) => exports.has(each))) return `${name}: no export of that name`;
    account.set(name, stack);
  }
  return undefined;
}
const [WORKFLOW, FLEET] = ["VoxelburstWorkflow", "VoxelburstFleet"];

type Fleets = NonNullable<DeploymentInput["fleets"]>;
const spot: Fleets[number] = { rung: "spot", instanceType: "p5.4xlarge" };
const onDemand: Fleets[number] = { rung: "on-demand", instanceType: "p5.4xlarge" };
const smaller: Fleets[number] = { rung: "smaller-gpu", instanceType: "g6e.4xlarge" };
const withFleets = (...fleets: Fleets) => stacksOf({ fleets });
const deployed = (stacks: Stacks): Stacks => {
  const account: Stacks = new Map();
  expect(deploy(account, stacks)).toBeUndefined();
  return account;
};

describe("a fleet", () => {
  const one = withFleets(spot);
  const two = withFleets(spot, onDemand);
  const other = withFleets(spot, smaller);

  it("is added by `cdk deploy --all`", () => {
    expect(deploy(deployed(one), two)).toBeUndefined();
  });

  it("is not removed by it, since the workflow still uses its queue", () => {
    expect(deploy(deployed(two), one)).toBe(`${FLEET}: an export is in use by ${WORKFLOW}`);
  });

  it("is removed in two steps: the workflow first, then all", () => {
    const account = deployed(two);
    expect(deploy(account, one, [WORKFLOW])).toBeUndefined();
    expect(deploy(account, one)).toBeUndefined();
    expect(account).toEqual(deployed(one));
  });

  it("is not replaced by another in two steps: the workflow would ask for a queue that is not there yet", () => {
    expect(deploy(deployed(two), other, [WORKFLOW])).toBe(`${WORKFLOW}: no export of that name`);
  });

  it("is replaced by adding the other beside it and then removing it", () => {
    const account = deployed(two);
    expect(deploy(account, withFleets(spot, onDemand, smaller))).toBeUndefined();
    expect(deploy(account, other, [WORKFLOW])).toBeUndefined();
    expect(deploy(account, other)).toBeUndefined();
  });
});

describe("a zone", () => {
  const inZones = (...zones: string[]) => stacksOf({ region: "us-east-1", zones });
  const [one, two] = [inZones("us-east-1a"), inZones("us-east-1a", "us-east-1b")];

  it("is removed from above: the workflow, the fleets, then all", () => {
    expect(deploy(deployed(two), one)).toMatch(/^VoxelburstNetwork: an export is in use by/);
    const account = deployed(two);
    for (const name of [WORKFLOW, FLEET]) expect(deploy(account, one, [name!])).toBeUndefined();
    expect(deploy(account, one)).toBeUndefined();
  });
});

describe("an image from CodeBuild", () => {
  it("is left by one `cdk deploy --all`, and its stack stays, which nothing uses any more", () => {
    const account = deployed(stacksOf({ image: { source: "codebuild" } }));
    const uri = "123456789012.dkr.ecr.us-east-1.amazonaws.com/voxelburst:1";
    expect(deploy(account, stacksOf({ image: { source: "ecr", uri } }))).toBeUndefined();
    const { exports } = account.get("VoxelburstImage")!;
    for (const { imports } of account.values()) expect([...imports].filter((each) => exports.has(each))).toEqual([]);
  });
});

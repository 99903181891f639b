// What a job of several nodes gets of its instances, against the table transcribed from AWS's pages.
import { readFileSync } from "node:fs";
import { App, Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import * as logs from "aws-cdk-lib/aws-logs";
import { beforeAll, describe, expect, it } from "vitest";
import { stageImage } from "../../lib/cloud/container-image.ts";
import { wholeInstance } from "../../lib/cloud/instance-types.ts";
import { Storage } from "../../lib/cloud/storage.ts";
import { deployment } from "../../lib/contracts/deployment.ts";
import { GPU_INSTANCE_TYPES, type GpuInstanceTypeName } from "../../lib/contracts/instance-types.ts";
import { StageJob } from "../../lib/stages/stage-job.ts";

const { types } = JSON.parse(readFileSync(new URL("published/instance-types.json", import.meta.url), "utf8"));
const PUBLISHED = Object.entries<{ vcpus: number; memoryGiB: number; gpus: number; networkCards: number }>(types).map(
  ([type, facts]) => ({ ...facts, type: type as GpuInstanceTypeName }),
);
const IMAGE = `111122223333.dkr.ecr.us-east-1.amazonaws.com/voxelburst@sha256:${"0".repeat(64)}`;

// biome-ignore lint/suspicious/noExplicitAny: properties of a job definition
let definitions: { type: string; range: any; container: any; properties: any }[];

beforeAll(() => {
  const { context } = JSON.parse(readFileSync(new URL("../../cdk.json", import.meta.url), "utf8"));
  context["@aws-cdk/core:validateAgainstDefaultRules"] = false; // test/synth has CDK validate whole apps
  const stack = new Stack(new App({ context }), "Jobs");
  const { buckets } = new Storage(stack, "Storage", { deployment: deployment.parse({}) });
  const job = new StageJob(stack, "Cluster", {
    buckets,
    image: stageImage(stack, "Image", { source: "ecr", uri: IMAGE }),
    logGroup: new logs.LogGroup(stack, "Logs"),
    attemptSeconds: 3_600,
  });
  for (const { type } of PUBLISHED) {
    const gpu = GPU_INSTANCE_TYPES[type];
    job.addClusterDefinition(type.replaceAll(/\W/g, ""), type, gpu, wholeInstance(gpu));
  }
  definitions = Object.values(Template.fromStack(stack).findResources("AWS::Batch::JobDefinition")).map(
    ({ Properties: properties }) => {
      const [range] = properties.NodeProperties.NodeRangeProperties;
      const [container] = range.EcsProperties.TaskProperties[0].Containers;
      return { type: range.InstanceTypes[0], range, container, properties };
    },
  );
}, 60_000);

describe.each(PUBLISHED)("a job of several $type", ({ type, vcpus, memoryGiB, gpus, networkCards }) => {
  const of = () => definitions.find((each) => each.type === type)!;

  it("is of that type alone, for every node", () => {
    expect(of().properties.Type).toBe("multinode");
    expect(of().range).toMatchObject({ TargetNodes: "0:", InstanceTypes: [type] });
    expect(of().properties.NodeProperties.MainNode).toBe(0);
  });

  it("maps the device of every network card, with the permissions that Batch gives by itself", () => {
    const { Devices } = of().container.LinuxParameters;
    const paths = Array.from({ length: networkCards }, (_, card) => `/dev/infiniband/uverbs${card}`);
    // CDK would write permissions in lower case, which Batch refuses.
    expect(Devices).toEqual(paths.map((path) => ({ HostPath: path, ContainerPath: path })));
  });

  it("runs as the image's own user on every node, and not as root", () => {
    expect(of().container.User).toBe("10001");
  });

  it("may lock all of its memory and shares more of it than Docker's 64 MiB", () => {
    const { Ulimits, LinuxParameters } = of().container;
    expect(Ulimits).toEqual([{ Name: "memlock", SoftLimit: -1, HardLimit: -1 }]);
    expect(LinuxParameters.SharedMemorySize).toBeGreaterThan(8_192);
  });

  it("has every GPU, and leaves the system a part of the memory", () => {
    const requirements = of().container.ResourceRequirements as { Type: string; Value: string }[];
    const wanted = Object.fromEntries(requirements.map(({ Type, Value }) => [Type, Number(Value)]));
    expect(wanted.GPU).toBe(gpus);
    expect(wanted.VCPU).toBeLessThanOrEqual(vcpus);
    expect(wanted.MEMORY).toBeLessThan(memoryGiB * 1024 * 0.97);
    expect(wanted.MEMORY).toBeGreaterThan(memoryGiB * 1024 * 0.8);
  });

  it("is told to use EFA, and has two minutes to stop", () => {
    expect(of().container.Environment).toEqual(
      expect.arrayContaining([
        { Name: "FI_PROVIDER", Value: "efa" },
        { Name: "FI_EFA_USE_HUGE_PAGE", Value: "0" },
      ]),
    );
    expect(of().container.StopTimeout).toBe(120);
  });
});

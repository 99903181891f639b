import { describe, expect, it } from "vitest";
import { readSettings } from "../../lib/cloud/settings.ts";

describe("settings", () => {
  it("have defaults", () => {
    expect(readSettings(undefined)).toEqual({ gpuInstanceType: "p5.4xlarge", maxGpuInstances: 4, maxIngestVcpus: 128 });
  });

  it("are read from an object of cdk.json and from the text of -c", () => {
    expect(readSettings({ maxGpuInstances: 2 }).maxGpuInstances).toBe(2);
    expect(readSettings('{"gpuInstanceType":"p4d.24xlarge"}').gpuInstanceType).toBe("p4d.24xlarge");
  });

  it.each([
    [{ gpuType: "p5" }, 'voxelburst.gpuType is "p5"; allowed: gpuInstanceType, maxGpuInstances, maxIngestVcpus'],
    [{ gpuInstanceType: "p3.2xlarge" }, 'voxelburst.gpuInstanceType is "p3.2xlarge"; allowed: p4d.24xlarge, p4de'],
    [{ gpuInstanceType: "p5e.48xlarge" }, 'voxelburst.gpuInstanceType is "p5e.48xlarge"; allowed: p4d.24xlarge'],
    [{ maxGpuInstances: 0 }, "voxelburst.maxGpuInstances is 0; allowed: a whole number of at least 1"],
    [{ maxIngestVcpus: 1.5 }, "voxelburst.maxIngestVcpus is 1.5; allowed: a whole number of at least 1"],
    [[], "voxelburst is []; allowed: an object"],
    ["{", "voxelburst is not JSON"],
  ])("refuse %j, naming what was got and what is allowed", (given, message) => {
    expect(() => readSettings(given)).toThrow(message);
  });
});

// GPU instance types: what AWS's pages say of them, and how a job gets its share.
import type { ChildSize } from "../stages/stage-context.ts";

export interface GpuInstanceType {
  readonly vcpus: number;
  readonly memoryGiB: number;
  readonly gpus: number;
  readonly gpuName: string;
  readonly gpuMemoryGiB: number;
  /** Network cards with EFA, each of which gets an interface; 0 where a launch template should name none. */
  readonly efaCards: number;
  /** DeviceIndex of the interface of card n > 0: p4d counts on, p5 and p6 begin again on every card. */
  readonly deviceIndex: "card" | "zero";
}

const p4 = { vcpus: 96, memoryGiB: 1152, gpus: 8, efaCards: 4, deviceIndex: "card" } as const;
const p5 = { vcpus: 192, memoryGiB: 2048, gpus: 8, deviceIndex: "zero" } as const;
const noEfa = { efaCards: 0, deviceIndex: "zero" } as const;

/** EC2's pages on accelerated instances and on EFA, as collected in November 2026. */
export const GPU_INSTANCE_TYPES: Record<string, GpuInstanceType> = {
  "p4d.24xlarge": { ...p4, gpuName: "NVIDIA A100-SXM4-40GB", gpuMemoryGiB: 40 },
  "p4de.24xlarge": { ...p4, gpuName: "NVIDIA A100-SXM4-80GB", gpuMemoryGiB: 80 },
  "p5.4xlarge": {
    vcpus: 16,
    memoryGiB: 256,
    gpus: 1,
    gpuName: "NVIDIA H100 80GB HBM3",
    gpuMemoryGiB: 80,
    efaCards: 1,
    deviceIndex: "zero",
  },
  "p5.48xlarge": { ...p5, gpuName: "NVIDIA H100 80GB HBM3", gpuMemoryGiB: 80, efaCards: 32 },
  "p5e.48xlarge": { ...p5, gpuName: "NVIDIA H200", gpuMemoryGiB: 141, efaCards: 32 },
  "p5en.48xlarge": { ...p5, gpuName: "NVIDIA H200", gpuMemoryGiB: 141, efaCards: 16 },
  "p6-b200.48xlarge": { ...p5, gpuName: "NVIDIA B200", gpuMemoryGiB: 180, efaCards: 8 },
  "g6e.4xlarge": { ...noEfa, vcpus: 16, memoryGiB: 128, gpus: 1, gpuName: "NVIDIA L40S", gpuMemoryGiB: 48 },
  "g5.4xlarge": { ...noEfa, vcpus: 16, memoryGiB: 64, gpus: 1, gpuName: "NVIDIA A10G", gpuMemoryGiB: 24 },
};

/**
 * One GPU's share of an instance. A twelfth of the memory stays with the system and the ECS agent: a job that asks for
 * all of it never finds an instance.
 */
export function shareOfGpu(type: GpuInstanceType): ChildSize {
  return {
    gpus: 1,
    vcpus: Math.floor(type.vcpus / type.gpus),
    memoryMiB: Math.floor((type.memoryGiB * 1024 * 11) / 12 / type.gpus),
  };
}

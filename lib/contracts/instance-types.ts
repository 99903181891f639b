// GPU instance types: what AWS's pages say of them. What is priced, offered or checked by type starts from this table.

export interface GpuInstanceType {
  readonly vcpus: number;
  readonly memoryGiB: number;
  readonly gpus: number;
  readonly gpuName: string;
  readonly gpuMemoryGiB: number;
  /** NVIDIA's compute capability. */
  readonly capability: number;
  /** GB of its NVMe drives together. */
  readonly localStorageGb: number;
  /** Network cards with EFA, each of which gets an interface; 0 where a launch template should name none. */
  readonly efaCards: number;
  /** DeviceIndex of the interface of card n > 0: p4d counts on, p5 and p6 begin again on every card. */
  readonly deviceIndex: "card" | "zero";
}

const p4 = { vcpus: 96, memoryGiB: 1152, gpus: 8, capability: 8.0, efaCards: 4, deviceIndex: "card" } as const;
const p5 = { vcpus: 192, memoryGiB: 2048, gpus: 8, deviceIndex: "zero" } as const;
// Some of the larger g types have EFA too; nothing here runs on several of them.
const noEfa = { efaCards: 0, deviceIndex: "zero" } as const;
const h100 = { gpuName: "NVIDIA H100 80GB HBM3", gpuMemoryGiB: 80, capability: 9.0 } as const;
const h200 = { gpuName: "NVIDIA H200", gpuMemoryGiB: 141, capability: 9.0 } as const;
const l40s = { gpuName: "NVIDIA L40S", gpuMemoryGiB: 48, capability: 8.9 } as const;
const a10g = { gpuName: "NVIDIA A10G", gpuMemoryGiB: 24, capability: 8.6 } as const;

/** EC2's pages on accelerated instances and on EFA, as collected in November 2026. */
const types = {
  "p4d.24xlarge": { ...p4, gpuName: "NVIDIA A100-SXM4-40GB", gpuMemoryGiB: 40, localStorageGb: 8_000 },
  "p4de.24xlarge": { ...p4, gpuName: "NVIDIA A100-SXM4-80GB", gpuMemoryGiB: 80, localStorageGb: 8_000 },
  "p5.4xlarge": {
    ...h100,
    vcpus: 16,
    memoryGiB: 256,
    gpus: 1,
    efaCards: 1,
    deviceIndex: "zero",
    localStorageGb: 3_840,
  },
  "p5.48xlarge": { ...p5, ...h100, efaCards: 32, localStorageGb: 30_720 },
  "p5e.48xlarge": { ...p5, ...h200, efaCards: 32, localStorageGb: 30_720 },
  "p5en.48xlarge": { ...p5, ...h200, efaCards: 16, localStorageGb: 30_720 },
  "p6-b200.48xlarge": {
    ...p5,
    gpuName: "NVIDIA B200",
    gpuMemoryGiB: 180,
    capability: 10.0,
    efaCards: 8,
    localStorageGb: 30_720,
  },
  "g6e.xlarge": { ...noEfa, ...l40s, vcpus: 4, memoryGiB: 32, gpus: 1, localStorageGb: 250 },
  "g6e.4xlarge": { ...noEfa, ...l40s, vcpus: 16, memoryGiB: 128, gpus: 1, localStorageGb: 600 },
  "g6e.48xlarge": { ...noEfa, ...l40s, vcpus: 192, memoryGiB: 1536, gpus: 8, localStorageGb: 7_600 },
  "g5.4xlarge": { ...noEfa, ...a10g, vcpus: 16, memoryGiB: 64, gpus: 1, localStorageGb: 600 },
  "g5.48xlarge": { ...noEfa, ...a10g, vcpus: 192, memoryGiB: 768, gpus: 8, localStorageGb: 7_600 },
} as const satisfies Record<string, GpuInstanceType>;

export type GpuInstanceTypeName = keyof typeof types;
export const GPU_INSTANCE_TYPES: Readonly<Record<GpuInstanceTypeName, GpuInstanceType>> = types;
export const GPU_INSTANCE_TYPE_NAMES = Object.keys(types) as [GpuInstanceTypeName, ...GpuInstanceTypeName[]];

// How a job gets its share of a GPU instance. What the types are stands in contracts/instance-types.ts.
import type { GpuInstanceType } from "../contracts/instance-types.ts";
import type { ChildSize } from "../stages/stage-context.ts";

export { GPU_INSTANCE_TYPES, type GpuInstanceType } from "../contracts/instance-types.ts";

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

/** All of an instance for a node of a training, less the same twelfth. */
export const wholeInstance = (type: GpuInstanceType): ChildSize => ({
  gpus: type.gpus,
  vcpus: type.vcpus,
  memoryMiB: Math.floor((type.memoryGiB * 1024 * 11) / 12),
});

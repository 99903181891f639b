// Faults on purpose: what AWS does to jobs now and then, so that one machine can show that the workflow recovers.
import { type StageName, stageName, VoxelburstError } from "../contracts/index.ts";

export const FAULTS = ["reclaim", "timeout", "no-capacity"] as const;
export type Fault = (typeof FAULTS)[number];

/** The stages that are jobs; the others are functions, which nobody reclaims. */
const STAGES = stageName.options.filter((stage) => stage !== "plan" && stage !== "report");

/**
 * A budget of faults: reclaim@preprocess:3 takes the hosts of the first three processes of preprocess away.
 *
 * @throws VoxelburstError UsageInvalid for what is no fault
 */
export class Faults {
  private readonly left: { fault: Fault; stage: StageName; count: number }[];

  constructor(specs: readonly string[] = []) {
    this.left = specs.map((spec) => {
      const [, fault, stage, count = "1"] = /^([a-z-]+)@([a-z]+)(?::([1-9]\d*))?$/.exec(spec) ?? [];
      const known = FAULTS.find((one) => one === fault);
      const at = STAGES.find((one) => one === stage);
      if (known && at) return { fault: known, stage: at, count: Number(count) };
      throw new VoxelburstError(
        "UsageInvalid",
        `--inject ${spec} is no fault; allowed: one of ${FAULTS.join(", ")}, @, one of ${STAGES.join(", ")}, and :COUNT.`,
        "Write for example --inject reclaim@preprocess:3.",
        { got: spec },
      );
    });
  }

  /** The fault that the next process of a stage meets, if one is left. */
  take(stage: StageName | undefined): Fault | undefined {
    const next = this.left.find((one) => one.stage === stage && one.count > 0);
    if (next) next.count -= 1;
    return next?.fault;
  }
}

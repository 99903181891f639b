// plan: case records become folds, geometry, shards and an estimate: go or no-go. A function.

import { Duration } from "aws-cdk-lib";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";
import * as tasks from "aws-cdk-lib/aws-stepfunctions-tasks";
import { Construct } from "constructs";
import { BundledFunction } from "../cloud/bundled-function.ts";
import { jsonata, variables } from "../workflow/jsonata.ts";
import { FUNCTION_SECONDS, functionStateSeconds } from "./limits.ts";
import { allowObjects } from "./object-access.ts";
import { lambdaRetry } from "./retries.ts";
import type { Buckets } from "./stage-context.ts";

export interface PlanProps {
  readonly buckets: Buckets;
  /** What GPU stages run on, as JSON of contracts/ports.ts' Machine: estimates and defaults follow from it. */
  readonly machineJson: string;
}

export class Plan extends Construct {
  readonly function: BundledFunction;

  constructor(scope: Construct, id: string, props: PlanProps) {
    super(scope, id);
    this.function = new BundledFunction(this, "Function", {
      verb: "plan",
      description: "voxelburst plan: case records to folds, geometry, shards, estimate",
      timeoutSeconds: FUNCTION_SECONDS.plan,
      memoryMiB: 1_769, // a whole vCPU
      environment: { VOXELBURST_MACHINE: props.machineJson },
    });
    allowObjects(this.function, props.buckets.artefacts, { read: ["*"], write: ["runs/*"], multipart: false });
  }

  toState(): sfn.TaskStateBase {
    const { request } = variables;
    const state = tasks.LambdaInvoke.jsonata(this, "Plan", {
      lambdaFunction: this.function,
      payload: sfn.TaskInput.fromObject({ request: jsonata(request) }),
      taskTimeout: sfn.Timeout.duration(Duration.seconds(functionStateSeconds(FUNCTION_SECONDS.plan))),
      retryOnServiceExceptions: false,
      assign: { plan: jsonata("$states.result.Payload") },
      outputs: {},
    });
    return state.addRetry(lambdaRetry);
  }
}

// report: every result and failure becomes report.json, report.html and report.csv. A function.
import { Duration } from "aws-cdk-lib";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";
import * as tasks from "aws-cdk-lib/aws-stepfunctions-tasks";
import { Construct } from "constructs";
import { BundledFunction } from "../cloud/bundled-function.ts";
import type { Ledger } from "../cloud/ledger.ts";
import { keys } from "../contracts/keys.ts";
import { jsonata, variables } from "../workflow/jsonata.ts";
import { FUNCTION_SECONDS, functionStateSeconds } from "./limits.ts";
import { allowObjects } from "./object-access.ts";
import { lambdaRetry } from "./retries.ts";
import type { Buckets } from "./stage-context.ts";

export interface ReportProps {
  readonly buckets: Buckets;
  /** What GPU stages run on, as JSON of contracts/ports.ts' Machine. */
  readonly machineJson: string;
  /** What the run cost. */
  readonly ledger: Ledger;
}

export class Report extends Construct {
  readonly function: BundledFunction;

  constructor(scope: Construct, id: string, props: ReportProps) {
    super(scope, id);
    this.function = new BundledFunction(this, "Function", {
      verb: "report",
      description: "voxelburst report: results and failures to report.json, report.html, report.csv",
      timeoutSeconds: FUNCTION_SECONDS.report,
      memoryMiB: 3_008, // holds every case's scores and draws the plots
      environment: { VOXELBURST_MACHINE: props.machineJson, VOXELBURST_LEDGER: props.ledger.settings },
    });
    props.ledger.allowRead(this.function);
    // nightly/: what a night of the benchmark measured, for the nights after it.
    const write = ["runs/*/report/*", `${keys.nights("*")}*`];
    allowObjects(this.function, props.buckets.artefacts, { read: ["*"], write, multipart: false });
  }

  toState(): sfn.TaskStateBase {
    const { request, plan } = variables;
    const payload = `$merge([{ 'request': ${request}, 'failures': $failures, 'falls': $falls }, ${plan} = null ? {} : { 'plan': ${plan} }])`;
    const state = tasks.LambdaInvoke.jsonata(this, "Report", {
      lambdaFunction: this.function,
      payload: sfn.TaskInput.fromText(jsonata(payload)),
      taskTimeout: sfn.Timeout.duration(Duration.seconds(functionStateSeconds(FUNCTION_SECONDS.report))),
      retryOnServiceExceptions: false,
      assign: { report: jsonata("$states.result.Payload") },
      outputs: {},
    });
    return state.addRetry(lambdaRetry);
  }
}

// The state machine: composes the stages' states, and says what follows what and where a failure goes.

import { Duration, RemovalPolicy } from "aws-cdk-lib";
import * as logs from "aws-cdk-lib/aws-logs";
import type * as sns from "aws-cdk-lib/aws-sns";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";
import * as tasks from "aws-cdk-lib/aws-stepfunctions-tasks";
import { Construct } from "constructs";
import { compileTaskId, inferTaskId, trainTaskId } from "../contracts/keys.ts";
import type { EngineName, StageName, Strategy } from "../contracts/primitives.ts";
import { causeLimit, type FailureSource, failureExpression } from "./failure.ts";
import { jsonata, keyExpression, variables } from "./jsonata.ts";

/** A stage: it knows its own state; what it does about a failure is the workflow's matter. */
export interface Stage {
  toState(): sfn.TaskStateBase;
}

export interface WorkflowProps {
  readonly stages: { readonly [stage in StageName]: Stage };
  /** Told at the end of every run. */
  readonly notifications: sns.ITopic;
}

/** Longer than the longest run that is worth its price; what is still going then has been forgotten. */
const RUN_MAX_DAYS = 30;

export class Workflow extends Construct {
  readonly stateMachine: sfn.StateMachine;
  private readonly props: WorkflowProps;

  constructor(scope: Construct, id: string, props: WorkflowProps) {
    super(scope, id);
    this.props = props;
    this.stateMachine = new sfn.StateMachine(this, "StateMachine", {
      definitionBody: sfn.DefinitionBody.fromChainable(this.renderRun()),
      queryLanguage: sfn.QueryLanguage.JSONATA,
      comment: "voxelburst: a labelled dataset to a trained, compiled model and its report",
      timeout: Duration.days(RUN_MAX_DAYS),
      tracingEnabled: true,
      logs: {
        destination: new logs.LogGroup(this, "Logs", {
          retention: logs.RetentionDays.THREE_MONTHS,
          removalPolicy: RemovalPolicy.DESTROY,
        }),
        level: sfn.LogLevel.ERROR,
        includeExecutionData: false,
      },
    });
    props.notifications.grantPublish(this.stateMachine);
  }

  /** Ingest, plan, go or no-go, preprocess, trainings, report: whatever fails goes to the report. */
  private renderRun(): sfn.IChainable {
    const { stages } = this.props;
    const { plan } = variables;
    const report = this.renderReport();
    const begin = sfn.Pass.jsonata(this, "Begin", {
      comment: "Input: RunRequest. Variables: request, plan (null until it exists), failures.",
      assign: { request: jsonata("$states.input"), plan: jsonata("null"), failures: [] },
      outputs: {},
    });
    const ingest = stages.ingest.toState();
    const planning = stages.plan.toState();
    const preprocess = stages.preprocess.toState();
    const trainings = this.renderTrainings();
    const goToReport = (state: sfn.TaskStateBase | sfn.Map, source: Omit<FailureSource, "limit">) =>
      state.addCatch(report, {
        assign: { failures: appended(failureExpression({ ...source, limit: causeLimit.alone })) },
        outputs: {},
      });
    goToReport(ingest, { stage: "ingest", taskId: "'ingest'", from: "batch" });
    goToReport(planning, { stage: "plan", taskId: "'plan'", from: "lambda" });
    goToReport(preprocess, { stage: "preprocess", taskId: "'preprocess'", from: "batch" });
    // Its iterations catch their own failures: what comes here is about the map itself.
    goToReport(trainings, { stage: "train", taskId: "'trainings'" });
    const isGo = sfn.Choice.jsonata(this, "IsGo", { comment: "No-go: over budget, or nothing to train on" });
    const isAnyMissing = sfn.Choice.jsonata(this, "IsAnyArrayMissing");
    begin
      .next(ingest)
      .next(planning)
      .next(
        isGo
          .when(
            sfn.Condition.jsonata(jsonata(plan.go)),
            isAnyMissing
              .when(sfn.Condition.jsonata(jsonata(`${plan.preprocess.missing} > 0`)), preprocess.next(trainings))
              .otherwise(trainings),
          )
          .otherwise(report),
      );
    trainings.next(report);
    return begin;
  }

  /** One iteration a fold and strategy. Its output is {failures}; a failure of one leaves the others alone. */
  private renderTrainings(): sfn.Map {
    const { plan, training } = variables;
    const taskId = keyExpression((part) => trainTaskId(part(training.fold), part(training.strategy) as Strategy));
    const failed = sfn.Pass.jsonata(this, "TrainingFailed", { comment: "Input and output: {failures}" });
    const train = this.props.stages.train.toState();
    const engines = this.renderEngines();
    endIteration(train, failed, { stage: "train", taskId, from: "sageMaker" });
    endIteration(engines, failed, { stage: "infer", taskId });
    const isTrained = sfn.Choice.jsonata(this, "IsTrained", {
      comment: "Weights of the same inputs are not made twice",
    });
    return sfn.Map.jsonata(this, "Trainings", {
      items: sfn.ProvideItems.jsonata(jsonata(plan.trainings)),
      jsonataMaxConcurrency: jsonata(plan.trainConcurrency),
      assign: { failures: appended("$states.result.failures") },
      outputs: {},
    }).itemProcessor(
      sfn.Pass.jsonata(this, "TakeTraining", { assign: { training: jsonata("$states.input") }, outputs: {} }).next(
        isTrained.when(sfn.Condition.jsonata(jsonata(training.trained)), engines).otherwise(train.next(engines)),
      ),
    );
  }

  /** One iteration an engine of the training. Its output is {failures}. */
  private renderEngines(): sfn.Map {
    const { plan, training, engine } = variables;
    const idOf = (build: typeof compileTaskId) =>
      keyExpression((part) =>
        build(part(training.fold), part(training.strategy) as Strategy, part(engine.engine) as EngineName),
      );
    const failed = sfn.Pass.jsonata(this, "EngineFailed", { comment: "Input and output: {failures}" });
    const compile = this.props.stages.compile.toState();
    const infer = this.props.stages.infer.toState();
    endIteration(compile, failed, { stage: "compile", taskId: idOf(compileTaskId), from: "batch" });
    endIteration(infer, failed, { stage: "infer", taskId: idOf(inferTaskId), from: "batch" });
    const isCompiled = sfn.Choice.jsonata(this, "IsCompiled");
    return sfn.Map.jsonata(this, "Engines", {
      items: sfn.ProvideItems.jsonata(jsonata(training.engines)),
      // Where trainings run one after the other, timed engines must not share the machine either.
      jsonataMaxConcurrency: jsonata(plan.trainConcurrency),
      outputs: { failures: jsonata("[$states.result.failures]") },
    }).itemProcessor(
      sfn.Pass.jsonata(this, "TakeEngine", { assign: { engine: jsonata("$states.input") }, outputs: {} }).next(
        isCompiled.when(sfn.Condition.jsonata(jsonata(engine.compiled)), infer).otherwise(compile.next(infer)),
      ),
    );
  }

  /** The report with what there is, a notification, and the run's own end. */
  private renderReport(): sfn.TaskStateBase {
    const { request, report } = variables;
    const state = this.props.stages.report.toState();
    const unreported = sfn.Fail.jsonata(this, "ReportFailed", {
      error: jsonata("$states.input.error"),
      cause: jsonata("$states.input.cause"),
    });
    const source = { stage: "report", taskId: "'report'", from: "lambda", limit: causeLimit.alone } as const;
    state.addCatch(unreported, { outputs: jsonata(failureExpression(source)) });
    const hasSucceeded = sfn.Choice.jsonata(this, "HasSucceeded")
      .when(
        sfn.Condition.jsonata(jsonata(`${report.status} = 'succeeded'`)),
        sfn.Succeed.jsonata(this, "Succeeded", { outputs: jsonata(report) }),
      )
      .otherwise(sfn.Fail.jsonata(this, "RunFailed", { error: jsonata(report.error), cause: jsonata(report.message) }));
    const notify = tasks.SnsPublish.jsonata(this, "Notify", {
      topic: this.props.notifications,
      // At most 100 characters: a run's name has up to 81.
      subject: jsonata(`${request.runId} & ' ' & ${report.status}`),
      message: sfn.TaskInput.fromText(jsonata(report.message)),
      taskTimeout: sfn.Timeout.duration(Duration.minutes(1)),
      outputs: {},
    });
    // A message that was not sent changes nothing about the run; the history keeps its error.
    notify.addCatch(hasSucceeded, { outputs: {} });
    state.next(notify).next(hasSucceeded);
    return state;
  }
}

/** The run's failures with more of them. JSONata flattens the arrays inside an array constructor. */
const appended = (failures: string) => jsonata(`[$failures, ${failures}]`);

/** Ends an iteration of a map with the failure as its output; the other iterations go on. */
const endIteration = (
  state: sfn.TaskStateBase | sfn.Map,
  failed: sfn.Pass,
  source: Omit<FailureSource, "limit">,
): unknown =>
  state.addCatch(failed, {
    outputs: { failures: [jsonata(failureExpression({ ...source, limit: causeLimit.perEngine }))] },
  });

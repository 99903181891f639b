// The state machine: composes the stages' states, and says what follows what and where a failure goes.

import { Duration, RemovalPolicy } from "aws-cdk-lib";
import * as logs from "aws-cdk-lib/aws-logs";
import type * as sns from "aws-cdk-lib/aws-sns";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";
import * as tasks from "aws-cdk-lib/aws-stepfunctions-tasks";
import { Construct } from "constructs";
import { acknowledgeWildcards } from "../cloud/acknowledge.ts";
import type { StageName } from "../contracts/primitives.ts";
import type { JobStage } from "../stages/stage-context.ts";
import { causeLimit, type FailureSource, failureExpression } from "./failure.ts";
import { jsonata, ladderOf, variables } from "./jsonata.ts";
import { firstFalls, Ladder, type LedgerFunctions } from "./ladder.ts";

/** A stage that is a function: it knows its own state; what it does about a failure is the workflow's matter. */
export interface FunctionStage {
  toState(): sfn.TaskStateBase;
}

type FunctionName = "plan" | "report";

export interface WorkflowProps {
  readonly stages: { readonly [stage in FunctionName]: FunctionStage } & {
    readonly [stage in Exclude<StageName, FunctionName>]: JobStage;
  };
  readonly ledger: LedgerFunctions;
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
        level: sfn.LogLevel.ALL,
        includeExecutionData: false,
      },
    });
    props.notifications.grantPublish(this.stateMachine);
    acknowledgeWildcards(this.stateMachine, [
      ["*", "batch:DescribeJobs, X-Ray and the delivery of logs have no resources"],
      [/Arn>:\*$/, "CDK lets a function be called in any version; it has one"],
      [/:(job|training-job|transform-job|model)\//, "a job gets its name and id after the deployment"],
      [/:reserved-capacity\//, "the capacity behind a training plan gets its name from SageMaker"],
      ["kms:GenerateDataKey*", "CDK's grant to publish to an encrypted topic, on the key of that topic"],
    ]);
  }

  /** Ingest, plan, go or no-go, preprocess, trainings, report: whatever fails goes to the report. */
  private renderRun(): sfn.IChainable {
    const { stages } = this.props;
    const { plan } = variables;
    const report = this.renderReport();
    const ladders = Object.values(stages).flatMap((stage) => ("rungs" in stage ? [[stage.stage, stage.rungs]] : []));
    const begin = sfn.Pass.jsonata(this, "Begin", {
      comment:
        "Input: RunRequest. Variables: request, plan (null until it exists), failures, falls; ladders, the deployment's rungs of each stage.",
      assign: {
        request: jsonata("$states.input"),
        plan: jsonata("null"),
        failures: [],
        falls: [],
        ladders: Object.fromEntries(ladders),
      },
      outputs: {},
    });
    const goToReport = (state: sfn.TaskStateBase | sfn.Map, source: Omit<FailureSource, "limit">) =>
      state.addCatch(report, {
        assign: { failures: appended("failures", failureExpression({ ...source, limit: causeLimit.alone })) },
        outputs: {},
      });

    const planning = stages.plan.toState();
    const trainings = this.renderTrainings();
    goToReport(planning, { stage: "plan", taskId: "'plan'", from: "lambda" });
    // Its iterations catch their own failures: what comes here is about the map itself.
    goToReport(trainings, { stage: "train", taskId: "'trainings'" });
    const ladder = (id: string, jobs: JobStage, next: sfn.IChainable) => {
      const falls = { falls: jsonata(firstFalls(`$falls, ${ladderOf(jobs.stage).falls}`)) };
      const failed = (failure: string) => ({
        next: report,
        assign: { ...falls, failures: appended("failures", failure) },
      });
      const done = { next, assign: falls };
      return new Ladder(this, id, { jobs, ledger: this.props.ledger, causeLimit: causeLimit.alone, done, failed })
        .start;
    };
    const preprocess = ladder("Preprocess", stages.preprocess, trainings);
    const isAnyMissing = sfn.Choice.jsonata(this, "IsAnyArrayMissing")
      .when(sfn.Condition.jsonata(jsonata(`${plan.preprocess.missing} > 0`)), preprocess)
      .otherwise(trainings);
    const isGo = sfn.Choice.jsonata(this, "IsGo", { comment: "No-go: over budget, or nothing to train on" })
      .when(sfn.Condition.jsonata(jsonata(plan.go)), isAnyMissing)
      .otherwise(report);
    planning.next(isGo);
    trainings.next(report);
    begin.next(ladder("Ingest", stages.ingest, planning));
    return begin;
  }

  /** One iteration a fold and strategy. Its output is {failures, falls}; a failure of one leaves the others alone. */
  private renderTrainings(): sfn.Map {
    const { plan, training } = variables;
    const { train } = this.props.stages;
    const failed = sfn.Pass.jsonata(this, "TrainingFailed", { comment: "Input and output: {failures, falls}" });
    const { falls } = ladderOf("train");
    const engines = this.renderEngines(falls);
    engines.addCatch(failed, {
      outputs: {
        failures: [jsonata(failureExpression({ stage: "infer", taskId: train.taskId, limit: causeLimit.perEngine }))],
        falls: jsonata(falls),
      },
    });
    const ladder = new Ladder(this, "Train", {
      jobs: train,
      ledger: this.props.ledger,
      causeLimit: causeLimit.perEngine,
      done: { next: engines },
      failed: (failure) => ({ next: failed, outputs: { failures: [jsonata(failure)], falls: jsonata(falls) } }),
    });
    const isTrained = sfn.Choice.jsonata(this, "IsTrained", {
      comment: "Weights of the same inputs are not made twice",
    });
    return sfn.Map.jsonata(this, "Trainings", {
      items: sfn.ProvideItems.jsonata(jsonata(plan.trainings)),
      jsonataMaxConcurrency: jsonata(plan.trainConcurrency),
      assign: {
        failures: appended("failures", "$states.result.failures"),
        falls: jsonata(firstFalls("$falls, $states.result.falls")),
      },
      outputs: {},
    }).itemProcessor(
      sfn.Pass.jsonata(this, "TakeTraining", {
        assign: { training: jsonata("$states.input"), [falls.slice(1)]: [] },
        outputs: {},
      }).next(isTrained.when(sfn.Condition.jsonata(jsonata(training.trained)), engines).otherwise(ladder.start)),
    );
  }

  /**
   * One iteration an engine of the training. Its output is {failures, falls}.
   *
   * @param trainFalls - expression of the training's own falls, which the map's output takes along
   */
  private renderEngines(trainFalls: string): sfn.Map {
    const { plan, training, engine } = variables;
    const { stages, ledger } = this.props;
    const failedEngine = sfn.Pass.jsonata(this, "EngineFailed", { comment: "Input and output: {failures, falls}" });
    const isInferred = sfn.Pass.jsonata(this, "EngineDone", { comment: "Input and output: {failures, falls}" });
    const all = `[${ladderOf("compile").falls}, ${ladderOf("infer").falls}]`;
    const ladder = (id: string, jobs: JobStage, next: sfn.IChainable, outputs?: object) =>
      new Ladder(this, id, {
        jobs,
        ledger,
        causeLimit: causeLimit.perEngine,
        done: { next, ...(outputs ? { outputs } : {}) },
        failed: (failure) => ({
          next: failedEngine,
          outputs: { failures: [jsonata(failure)], falls: jsonata(all) },
        }),
      }).start;
    const infer = ladder("Infer", stages.infer, isInferred, { failures: [], falls: jsonata(all) });
    const compile = ladder("Compile", stages.compile, infer);
    const isCompiled = sfn.Choice.jsonata(this, "IsCompiled")
      .when(sfn.Condition.jsonata(jsonata(engine.compiled)), infer)
      .otherwise(compile);
    const none = [ladderOf("compile").falls, ladderOf("infer").falls].map((name) => [name.slice(1), []]);
    return sfn.Map.jsonata(this, "Engines", {
      items: sfn.ProvideItems.jsonata(jsonata(training.engines)),
      // Where trainings run one after the other, timed engines must not share the machine either.
      jsonataMaxConcurrency: jsonata(plan.trainConcurrency),
      outputs: {
        failures: jsonata("[$states.result.failures]"),
        falls: jsonata(firstFalls(`${trainFalls}, $states.result.falls`)),
      },
    }).itemProcessor(
      sfn.Pass.jsonata(this, "TakeEngine", {
        assign: { engine: jsonata("$states.input"), ...Object.fromEntries(none) },
        outputs: {},
      }).next(isCompiled),
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

/** A list of the run with more in it. JSONata flattens the arrays inside an array constructor. */
const appended = (list: "failures", more: string) => jsonata(`[$${list}, ${more}]`);

// The capacity ladder of a stage: the same few states walk down its rungs, which are data (docs/decisions/0004).
import { Duration } from "aws-cdk-lib";
import type * as lambda from "aws-cdk-lib/aws-lambda";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";
import * as tasks from "aws-cdk-lib/aws-stepfunctions-tasks";
import { Construct } from "constructs";
import { FUNCTION_SECONDS, functionStateSeconds } from "../stages/limits.ts";
import { lambdaRetry } from "../stages/retries.ts";
import type { JobStage, JobState } from "../stages/stage-context.ts";
import { childrenExpression, endExpression, failureExpression, MOST_FALLS, noRungExpression } from "./failure.ts";
import { isReserved, jsonata, ladderOf, literal, variables } from "./jsonata.ts";

/** The ledger's functions: contracts/ledger.ts has what they are given and answer. */
export interface LedgerFunctions {
  readonly reserve: lambda.IFunction;
  readonly settle: lambda.IFunction;
}

export interface LadderProps {
  readonly jobs: JobStage;
  readonly ledger: LedgerFunctions;
  /** JSONata of the characters that are kept of a failure's Cause. */
  readonly causeLimit: string;
  /** Where a task goes that is done, and where one that failed on its last rung. */
  readonly done: { readonly next: sfn.IChainable; readonly outputs?: object; readonly assign?: object };
  readonly failed: (failure: string) => {
    readonly next: sfn.State;
    readonly outputs?: object;
    readonly assign?: object;
  };
}

/** A job that is told to stop has two minutes; Settle is asked again until it has. */
const SETTLE_AGAIN_SECONDS = 30;
const MOST_WAITS = 20;

/**
 * Rungs -> HasRung -> Reserve -> IsGranted -> the job -> (Children) -> Settle -> Outcome, which leads on, or over Fall to
 * the next rung. Nothing starts before it is reserved, and no rung before what ran on the one above has ended.
 */
export class Ladder extends Construct {
  readonly start: sfn.State;
  private readonly props: LadderProps;
  private readonly name: string;

  constructor(scope: Construct, id: string, props: LadderProps) {
    super(scope, `${id}Ladder`);
    this.props = props;
    this.name = id;
    this.start = this.render();
  }

  private render(): sfn.State {
    const { jobs, done } = this.props;
    const { rungs, end, settled } = this.variables;
    const begin = this.renderRungs();
    const reserve = this.renderReserve();
    const settle = this.renderSettle();
    const fall = this.renderFall();
    const job = jobs.toJob(this.assign({ end: "{ 'outcome': 'done' }" }));
    // Of a job that was redriven, and so had no name: it is reserved first.
    const isOfThisDrive = sfn.Choice.jsonata(this, `${this.name}IsReserved`, { comment: "Or redriven since" })
      .when(sfn.Condition.jsonata(jsonata(isReserved(jobs.stage))), settle)
      .otherwise(reserve);
    for (const each of job.jobs) this.leadTo(settle, isOfThisDrive, each);

    const noRung = this.props.failed(noRungExpression(this.source, this.variables));
    const hasRung = sfn.Choice.jsonata(this, `${this.name}HasRung`, this.transition(noRung))
      .when(sfn.Condition.jsonata(jsonata(`$count(${rungs}) > 0`)), reserve)
      .otherwise(noRung.next);
    const isGranted = sfn.Choice.jsonata(this, `${this.name}IsGranted`, { comment: "By the ledger" })
      .when(sfn.Condition.jsonata(jsonata(`${end}.outcome = 'granted'`)), job.start)
      .otherwise(fall);

    const again = sfn.Wait.jsonata(this, `${this.name}Wait`, {
      comment: "What is told to stop writes a checkpoint first; the next rung must not run beside it",
      time: sfn.WaitTime.duration(Duration.seconds(SETTLE_AGAIN_SECONDS)),
      assign: this.assign({ end: `$merge([${end}, { 'waits': $sum([${end}.waits, 1]) }])` }),
      outputs: {},
    });
    again.next(settle);
    const hasFallen = `${end}.outcome = 'fell'`;
    const hasFailed = this.props.failed(`${end}.failure`);
    const outcome = sfn.Choice.jsonata(this, `${this.name}Outcome`, this.transition(hasFailed))
      .when(sfn.Condition.jsonata(jsonata(`${end}.outcome = 'done'`)), done.next, this.transition(done))
      .when(sfn.Condition.jsonata(jsonata(`${hasFallen} and ${settled}`)), fall)
      .when(sfn.Condition.jsonata(jsonata(`${hasFallen} and $sum([${end}.waits, 0]) < ${MOST_WAITS}`)), again)
      .otherwise(hasFailed.next);

    begin.next(hasRung);
    reserve.next(isGranted);
    reserve.addCatch(outcome, {
      assign: this.assign({
        end: `{ 'outcome': 'failed', 'failure': ${failureExpression({ ...this.source, from: "lambda" })} }`,
      }),
      outputs: {},
    });
    settle.next(outcome);
    // What may still run must have nothing beside it; what is done is done, and the guard settles it.
    const unsettled = failureExpression({ ...this.source, from: "lambda" });
    settle.addCatch(outcome, {
      assign: this.assign({ end: `${hasFallen} ? { 'outcome': 'failed', 'failure': ${unsettled} } : ${end}` }),
      outputs: {},
    });
    fall.next(hasRung);
    return begin;
  }

  private get variables() {
    return ladderOf(this.props.jobs.stage);
  }

  private get source() {
    const { jobs, causeLimit } = this.props;
    return { stage: jobs.stage, taskId: jobs.taskId, limit: causeLimit };
  }

  private assign(
    values: { [name in "rungs" | "falls" | "end" | "settled" | "reserved"]?: string },
  ): Record<string, string> {
    const named = Object.entries(values).map(([name, expression]) => [
      this.variables[name as "rungs"].slice(1),
      jsonata(expression),
    ]);
    return Object.fromEntries(named);
  }

  /** What a Choice leaves behind, on a way that is not its default or on its default. */
  private transition({ outputs, assign }: { outputs?: object; assign?: object }) {
    return { ...(outputs ? { outputs } : {}), ...(assign ? { assign } : {}) };
  }

  /** The deployment's rungs for the stage: of the kinds that the recipe allows, in its order, that suit the task. */
  private renderRungs(): sfn.Pass {
    const { stage, suits } = this.props.jobs;
    const all = `$ladders.${stage}`;
    const { rungs: kinds } = variables.plan;
    const suiting = (condition?: string) => {
      const conditions = [condition, suits && `(${suits})`].filter(Boolean).join(" and ");
      return conditions ? `${all}[${conditions}]` : all;
    };
    // ingest has no plan yet, and CPUs are no matter of the recipe's.
    const chosen =
      stage === "ingest"
        ? suiting()
        : `$exists(${kinds}) ? ${kinds}.( $kind := $; ${suiting("kind = $kind")} ) : ${suiting()}`;
    return sfn.Pass.jsonata(this, `${this.name}Rungs`, {
      assign: {
        ...this.assign({ rungs: `[${chosen}]`, end: "{ 'outcome': 'fell' }", settled: "true" }),
        [this.variables.falls.slice(1)]: [],
        ...this.props.jobs.initially,
      },
      outputs: {},
    });
  }

  private renderReserve(): tasks.LambdaInvoke {
    const { stage, taskId, bound } = this.props.jobs;
    const { rung } = this.variables;
    const job = [
      `'service': ${rung}.service, 'name': ${bound.name}, 'queue': ${rung}.queue,`,
      `'instanceType': ${rung}.instanceType, 'usdPerHour': ${rung}.usdPerHour, 'children': ${bound.children},`,
      `'childrenPerInstance': ${rung}.childrenPerInstance, 'attemptSeconds': ${bound.attemptSeconds},`,
      `'attempts': ${bound.attempts}, 'waitSeconds': ${rung}.waitSeconds,`,
      `'keepAliveSeconds': ${rung}.keepAliveSeconds`,
      ...(bound.waitsTogether ? [`, 'waitsTogether': ${bound.waitsTogether}`] : []),
    ].join(" ");
    const refusal = [
      "$exists($answer.reason) ? $answer.reason",
      ": { 'code': 'OverBudget', 'message': 'The ledger refused it.', 'remedy': 'Raise maxUsd.' }",
    ].join(" ");
    const state = this.renderLedgerCall("Reserve", this.props.ledger.reserve, {
      payload: {
        request: jsonata(variables.request),
        taskId: jsonata(taskId),
        rung: jsonata(`${rung}.name`),
        stage,
        job: jsonata(`{ ${job} }`),
      },
      assign: {
        end: [
          "( $answer := $states.result.Payload;",
          `$refusal := ${refusal};`,
          "$answer.granted ? { 'outcome': 'granted' }",
          ": { 'outcome': 'refused', 'code': $refusal.code, 'reason': $substring($refusal.message, 0, 160),",
          `'document': $merge([{ 'schema': 1, 'stage': ${literal(stage)}, 'taskId': ${taskId} }, $refusal]) } )`,
        ].join(" "),
        settled: "true",
        reserved: "$states.context.Execution.RedriveCount",
      },
    });
    // What an earlier try left behind is told to stop, and has two minutes for it.
    state.addRetry({
      errors: ["JobStopping"],
      interval: Duration.seconds(SETTLE_AGAIN_SECONDS),
      backoffRate: 1,
      maxAttempts: MOST_WAITS,
    });
    return state;
  }

  /** Also stops what a timed-out state left running, and says whether it has ended. */
  private renderSettle(): tasks.LambdaInvoke {
    const { taskId } = this.props.jobs;
    return this.renderLedgerCall("Settle", this.props.ledger.settle, {
      payload: {
        request: jsonata(variables.request),
        taskId: jsonata(taskId),
        rung: jsonata(`${this.variables.rung}.name`),
      },
      assign: { settled: "$states.result.Payload.settled" },
    });
  }

  private renderLedgerCall(
    verb: "Reserve" | "Settle",
    lambdaFunction: lambda.IFunction,
    call: { payload: Record<string, string>; assign: { end?: string; settled: string; reserved?: string } },
  ): tasks.LambdaInvoke {
    const state = tasks.LambdaInvoke.jsonata(this, `${this.name}${verb}`, {
      lambdaFunction,
      payload: sfn.TaskInput.fromObject(call.payload),
      taskTimeout: sfn.Timeout.duration(Duration.seconds(functionStateSeconds(FUNCTION_SECONDS.ledger))),
      retryOnServiceExceptions: false,
      assign: this.assign(call.assign),
      outputs: {},
    });
    state.addRetry(lambdaRetry);
    return state;
  }

  private renderFall(): sfn.Pass {
    const { stage, taskId } = this.props.jobs;
    const { rungs, rung, falls, end } = this.variables;
    const fallen = [
      `{ 'stage': ${literal(stage)}, 'taskId': ${taskId}, 'rung': ${rung}.name, 'reason': ${end}.reason,`,
      `'next': ${rungs}[1].name }`,
    ].join(" ");
    return sfn.Pass.jsonata(this, `${this.name}Fall`, {
      comment: "The next rung, with why this one was left",
      assign: this.assign({
        falls: `[${falls}, ${fallen}]`,
        rungs: `[$filter(${rungs}, function($rung, $index) { $index > 0 })]`,
      }),
      outputs: {},
    });
  }

  /** A job that failed goes on to Settle as one that is done does; the failed children of an array are asked why. */
  private leadTo(
    settle: sfn.State,
    isOfThisDrive: sfn.State,
    { state, service, isArray, isLast = true, cleanUp }: JobState,
  ): void {
    const next = cleanUp ?? settle;
    if (cleanUp) {
      cleanUp.addCatch(settle, { outputs: {} });
      cleanUp.next(settle);
    }
    const caught = {
      assign: this.assign({ end: endExpression({ ...this.source, from: service }) }),
      outputs: {},
    };
    state.addCatch(isOfThisDrive, { errors: ["States.QueryEvaluationError"], ...caught });
    if (isArray) {
      const children = this.renderChildren(state.node.id, settle);
      state.addCatch(children, { errors: ["States.TaskFailed"], ...caught });
    }
    state.addCatch(next, caught);
    if (isLast) state.next(next);
  }

  /** Children -> ChildrenLeft -> (MoreChildren -> ChildrenLeft ->) Settle: a page of them at a time. */
  private renderChildren(name: string, settle: sfn.State): sfn.State {
    const { end } = this.variables;
    const first = this.renderChildrenPage(`${name}Children`, {});
    const more = this.renderChildrenPage(`${name}MoreChildren`, { NextToken: jsonata(`${end}.next`) });
    const left = sfn.Choice.jsonata(this, `${name}ChildrenLeft`, { comment: "As long as all of them lost their host" })
      .when(sfn.Condition.jsonata(jsonata(`${end}.next != ''`)), more)
      .otherwise(settle);
    for (const page of [first, more]) {
      page.addCatch(settle, { outputs: {} });
      page.next(left);
    }
    return first;
  }

  private renderChildrenPage(id: string, from: { NextToken?: string }): tasks.CallAwsService {
    const { end } = this.variables;
    return tasks.CallAwsService.jsonata(this, id, {
      comment: "Why children failed: an array's own description tells counts alone",
      service: "batch",
      action: "listJobs",
      parameters: { ArrayJobId: jsonata(`${end}.jobId`), JobStatus: "FAILED", MaxResults: 100, ...from },
      iamAction: "batch:ListJobs",
      // ListJobs has no resource-level permissions.
      iamResources: ["*"],
      taskTimeout: sfn.Timeout.duration(Duration.minutes(1)),
      assign: this.assign({ end: childrenExpression(end) }),
      outputs: {},
    });
  }
}

/** Falls that travel on: the first of them, since a shortage can make every task of a large run fall. */
export const firstFalls = (falls: string): string =>
  `[$filter([${falls}], function($fall, $index) { $index < ${MOST_FALLS} })]`;

// The regression gate from end to end but for CloudWatch: nights fed to report's real handler, which reads and writes
// them over S3's protocol; what it emits is judged by the alarms that the synthesised template has.
import { App, Duration, Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import * as lambda from "aws-cdk-lib/aws-lambda";
import * as sns from "aws-cdk-lib/aws-sns";
import * as sqs from "aws-cdk-lib/aws-sqs";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Observability } from "../../lib/cloud/observability.ts";
import {
  type CaseScores,
  type InferResult,
  inferTaskId,
  keys,
  type Plan,
  type Report,
  type ReportOutput,
  type TrainResult,
  trainTaskId,
} from "../../lib/contracts/index.ts";
import { S3Server } from "../lambdas/clients/s3-server.ts";
import { RunFixture } from "../lambdas/report/run-fixture.ts";
import { type AlarmProperties, type EmfLine, statesOf, valuesFor } from "./alarm-states.ts";

const GATES = ["NightlySlower", "NightlyDiceLower", "NightlyRowsMissing"] as const;
type Gate = (typeof GATES)[number];

function synthesisedAlarms(): Record<Gate | "NightlyAbsent", AlarmProperties> {
  const stack = new Stack(new App(), "Alarms");
  const functionArn = "arn:aws:lambda:us-east-1:123456789012:function:start";
  const start = lambda.Function.fromFunctionArn(stack, "Start", functionArn);
  new Observability(stack, "Observability", {
    stateMachine: sfn.StateMachine.fromStateMachineName(stack, "Machine", "voxelburst"),
    functions: { "start-run": start },
    undelivered: new sqs.Queue(stack, "Undelivered"),
    failed: new sqs.Queue(stack, "Failed"),
    nightlyUndelivered: new sqs.Queue(stack, "Nights", { retentionPeriod: Duration.days(14) }),
    topic: new sns.Topic(stack, "Topic"),
  });
  const found = Object.entries(Template.fromStack(stack).findResources("AWS::CloudWatch::Alarm"));
  const of = (id: string) => found.find(([name]) => name.startsWith(`Observability${id}`))![1].Properties;
  return Object.fromEntries([...GATES, "NightlyAbsent" as const].map((id) => [id, of(id)])) as never;
}

interface Night {
  /** Of every speed. */
  speed?: number;
  /** Off every case's and class's Dice. */
  diceLower?: number;
  /** Rows of this engine are not there. */
  without?: "tensorrt";
  gpu?: string;
  /** Of a classification, in place of a segmentation. */
  auc?: 1 | 0;
}

const FOLD = "fold1";
const STRATEGY = "fused";
const ENGINES = ["torch", "tensorrt"] as const;

/** A run as the stages leave it in the artefacts bucket. */
function runOf({ speed = 1, diceLower = 0, without, gpu, auc }: Night): RunFixture {
  const run = new RunFixture({
    where: "aws",
    gpu: true,
    strategies: [STRATEGY],
    engines: [...ENGINES],
    validationCases: 4,
    previewSize: 8,
  });
  run.change<TrainResult>(run.resultKey(trainTaskId(FOLD, STRATEGY)), (result) => {
    result.volumesPerSecond = 12.5 * speed;
    if (gpu) result.host.device = gpu;
  });
  if (auc !== undefined)
    run.change<Plan>(keys.plan(run.runId), ({ dataset }) => {
      dataset.classes = ["no", "yes"];
    });
  for (const engine of ENGINES) {
    const taskId = inferTaskId(FOLD, STRATEGY, engine);
    for (const index of [0, 1]) {
      if (auc !== undefined)
        run.changeLines<CaseScores>(keys.scores(run.runId, taskId, index), (lines) => lines.map(classified(auc)));
      run.changeLines<CaseScores>(keys.scores(run.runId, taskId, index), (lines) =>
        lines.map((line) => ({ ...line, classes: line.classes.map((one) => ({ ...one, dice: 0.9 - diceLower })) })),
      );
      if (engine === without) run.remove(run.resultKey(taskId, index));
      else
        run.change<InferResult>(run.resultKey(taskId, index), (result) => {
          // Both children start together and take as long: 4 volumes in so many seconds.
          result.seconds = 2 / speed;
          result.fileToMaskSeconds = 2 / speed;
          if (gpu) result.host.device = gpu;
        });
    }
  }
  return run;
}

/** A child has a case of each class, told apart rightly or the wrong way round. */
const classified =
  (auc: 1 | 0) =>
  (line: CaseScores, at: number): CaseScores => {
    const yes = at === 0 ? 0.8 : auc === 1 ? 0.1 : 0.9;
    const { maskKey: _, previewKey: __, ...rest } = line;
    return {
      ...rest,
      classes: [],
      meanDice: null,
      classification: {
        probabilities: { no: 1 - yes, yes },
        predicted: yes > 0.5 ? "yes" : "no",
        reference: at === 0 ? "yes" : "no",
      },
    };
  };

const server = new S3Server();
const alarms = synthesisedAlarms();
let handler: (input: unknown, context: never) => Promise<ReportOutput>;
const said: string[] = [];

beforeAll(async () => {
  vi.stubEnv("AWS_ENDPOINT_URL_S3", await server.start());
  vi.stubEnv("AWS_REGION", "us-east-1");
  vi.stubEnv("AWS_ACCESS_KEY_ID", "a");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "s");
  vi.stubEnv("POWERTOOLS_LOG_LEVEL", "SILENT");
  // Metrics then go through the console that a test can listen to.
  vi.stubEnv("POWERTOOLS_DEV", "true");
  vi.stubEnv("POWERTOOLS_METRICS_DISABLED", "false");
  vi.stubEnv("VOXELBURST_MACHINE", '{"where":"aws","gpus":1,"cpus":16,"memoryGiB":256,"engines":["torch"]}');
  // Nobody listens there: a night's measures do not depend on what the ledger says.
  vi.stubEnv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9");
  vi.stubEnv("AWS_MAX_ATTEMPTS", "1");
  vi.stubEnv("VOXELBURST_LEDGER", '{"table":"ledger","caps":{"runUsd":1,"monthUsd":1}}');
  vi.spyOn(console, "log").mockImplementation((line: string) => void said.push(String(line)));
  ({ handler } = (await import("../../lambdas/report/handler.ts")) as never);
}, 60_000);
afterAll(() => {
  server.stop();
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

const timeOf = (number: number) => new Date(Date.UTC(2026, 10, 1 + number, 2)).toISOString();

/** Feeds one night to the handler. @returns what it emitted and wrote */
async function feed(number: number, night: Night) {
  const run = runOf(night);
  for (const key of [...server.objects.keys()]) if (key.startsWith("artefacts/runs/")) server.objects.delete(key);
  for (const [uri, body] of run.store.objects)
    server.objects.set(uri.slice("s3://".length), { body: Buffer.from(body), contentType: undefined });
  said.length = 0;
  const request = { ...run.input.request, nonce: `nightly-${timeOf(number)}`, night: timeOf(number) };
  const output = await handler({ ...run.input, request }, {
    getRemainingTimeInMillis: () => 600_000,
    functionName: "report",
    memoryLimitInMB: "1",
  } as never);
  const emitted = said.filter((line) => line.includes("CloudWatchMetrics")).map((line) => JSON.parse(line) as EmfLine);
  const report = JSON.parse(server.objects.get(`artefacts/${output.reportKey}`)!.body.toString()) as Report;
  return { output, emitted, report };
}

/** The alarms that are in ALARM after these nights. */
function alarming(nights: readonly (readonly EmfLine[])[]): Gate[] {
  return GATES.filter((id) => {
    const states = statesOf(
      alarms[id],
      nights.map((lines) => valuesFor(alarms[id], lines)),
    );
    return states.at(-1) === "ALARM";
  });
}

/** Seven ordinary nights: their median is 1. */
const ORDINARY = [1, 0.98, 1.01, 1.02, 0.97, 1, 1.03];
const nightsOf = () => [...server.objects.keys()].filter((key) => key.startsWith("artefacts/nightly/phantoms/"));

describe("eight nights", () => {
  const week: EmfLine[][] = [];
  beforeAll(async () => {
    for (const [number, speed] of ORDINARY.entries()) week.push((await feed(number, { speed })).emitted);
  }, 60_000);

  test("of which seven are ordinary leave every alarm alone, after each of them", () => {
    for (let nights = 1; nights <= week.length; nights++) expect(alarming(week.slice(0, nights))).toEqual([]);
    expect(nightsOf()).toHaveLength(7);
  });

  test("emit a speed and a Dice for every row and night", () => {
    for (const lines of week) {
      const rows = lines.filter((line) => line.row !== undefined);
      expect(rows.map((line) => line.row)).toEqual(["fold1 fused", "fold1 fused torch", "fold1 fused tensorrt"]);
      for (const line of rows) expect(line).toMatchObject({ dataset: "phantoms", Dice: expect.closeTo(0.9, 6) });
      for (const line of rows) expect(line.VolumesPerSecond).toBeGreaterThan(0);
    }
  });

  test("compare nothing until three of them exist", () => {
    const falls = week.map((lines) => valuesFor(alarms.NightlySlower, lines).length);
    expect(falls).toEqual([0, 0, 0, 1, 1, 1, 1]);
  });

  test.each<[string, Night, Gate[]]>([
    ["as fast as ever", {}, []],
    ["9.9 % slower", { speed: 0.901 }, []],
    ["exactly 10 % slower", { speed: 0.9 }, ["NightlySlower"]],
    ["half as fast", { speed: 0.5 }, ["NightlySlower"]],
    ["twice as fast", { speed: 2 }, []],
    ["0.0099 of Dice lower", { diceLower: 0.0099 }, []],
    ["exactly 0.01 of Dice lower", { diceLower: 0.01 }, ["NightlyDiceLower"]],
    ["0.05 of Dice higher", { diceLower: -0.05 }, []],
    ["slower and worse", { speed: 0.8, diceLower: 0.03 }, ["NightlySlower", "NightlyDiceLower"]],
    ["without one engine", { without: "tensorrt" }, ["NightlyRowsMissing"]],
    ["on another GPU, which is no regression", { speed: 0.5, gpu: "NVIDIA L40S" }, []],
  ])("the eighth %s", async (_, eighth, expected) => {
    const { emitted, report, output } = await feed(7, eighth);
    expect(alarming([...week, emitted])).toEqual(expected);
    expect(report.nightly).toMatchObject({ night: timeOf(7), nights: 7 });
    // The notification says what the alarm says.
    expect(output.message.includes("Regression: ")).toBe(expected.length > 0);
    // Fed again it replaces itself, as a repeated report does.
    expect(nightsOf()).toHaveLength(8);
  });

  test("alarm until a night is good again, and no longer", async () => {
    const bad = (await feed(7, { speed: 0.85 })).emitted;
    expect(alarming([...week, bad, []])).toEqual(["NightlySlower"]);
    const good = (await feed(8, {})).emitted;
    expect(alarming([...week, bad, good])).toEqual([]);
  });
});

test("two nights on unchanged data are two rows of measured figures", async () => {
  server.objects.clear();
  for (const number of [0, 1]) {
    const { report } = await feed(number, {});
    for (const row of report.rows) {
      expect(row.volumesPerSecond).toBeGreaterThan(0);
      expect(row.note ?? "").not.toContain("earlier run");
    }
  }
  const nights = nightsOf().map((key) => JSON.parse(server.objects.get(key)!.body.toString()));
  expect(nights.map(({ night }) => night)).toEqual([timeOf(0), timeOf(1)]);
  for (const { rows } of nights) expect(rows).toHaveLength(3);
});

test("a classification is gated by its AUC", async () => {
  server.objects.clear();
  const nights: EmfLine[][] = [];
  for (const number of [0, 1, 2]) nights.push((await feed(number, { auc: 1 })).emitted);
  for (const line of nights.flat().filter(({ row }) => row !== undefined)) expect(line).toMatchObject({ AUC: 1 });
  expect(alarming([...nights, (await feed(3, { auc: 1 })).emitted])).toEqual([]);
  const { emitted, output } = await feed(3, { auc: 0 });
  expect(alarming([...nights, emitted])).toEqual(["NightlyDiceLower"]);
  expect(output.message).toContain("The AUC of fold1 fused tensorrt is 1.0000 below");
});

test("thirty hours without a night are an alarm, one night ends it", () => {
  const one = [{ _aws: { CloudWatchMetrics: [metricSet("NightlyRows")] }, service: "report", NightlyRows: 3 }];
  const values = [valuesFor(alarms.NightlyAbsent, one), [], [], [], [], []];
  expect(values[0]).toEqual([3]);
  expect(statesOf(alarms.NightlyAbsent, values)).toEqual(["OK", "OK", "OK", "OK", "OK", "ALARM"]);
  expect(statesOf(alarms.NightlyAbsent, [...values, [3]]).at(-1)).toBe("OK");
});

const metricSet = (name: string) => ({
  Namespace: "Voxelburst",
  Dimensions: [["service"]],
  Metrics: [{ Name: name, Unit: "Count" }],
});

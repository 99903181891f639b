// What a deployment bills while nobody runs anything: `npx cdk synth -q && node lib/cloud/idle-costs.ts [cdk.out]`.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

/** AWS's pricing pages of us-east-1, before any free tier: PrivateLink, VPC, KMS, Secrets Manager, CloudWatch, Lambda. */
export const IDLE_PRICES_DATE = "2026-11";
export const IDLE_PRICES_SOURCE = "AWS's pricing pages, us-east-1, without free tiers";

/** AWS's own average month. */
const HOURS_A_MONTH = 730;
const USD = {
  interfaceEndpointHour: 0.01, // in each zone
  natGatewayHour: 0.045,
  keyMonth: 1, // a rotation adds as much, twice at most
  secretMonth: 0.4,
  alarmMetricMonth: 0.1,
  customMetricMonth: 0.3, // by the hour in which it is written
  dashboardMonth: 3,
  functionRequest: 0.2 / 1e6,
  functionGiBSecond: 0.0000133334, // Arm
};
/** Assumed of a function that a timer calls and that finds nothing to do. */
const LOOK_SECONDS = 1;

/**
 * Custom metrics that a function writes each time a timer calls it, whether it finds something to do or not; a template does
 * not say. The others' (start-run, report) are written when a run starts or ends.
 */
export const TIMER_METRICS: Readonly<Record<string, number>> = { guard: 4 };

export interface IdleCost {
  readonly what: string;
  readonly count: number;
  readonly usdPerMonth: number;
}

interface Resource {
  readonly Type: string;
  // biome-ignore lint/suspicious/noExplicitAny: a template's properties
  readonly Properties?: Record<string, any>;
}
export interface Template {
  readonly Resources: Readonly<Record<string, Resource>>;
}

/** Kinds that cost nothing by existing: they bill what they hold, carry or run, or nothing at all. */
const FREE_WHEN_IDLE =
  /^AWS::(Batch::(ComputeEnvironment|JobQueue|JobDefinition)|Budgets::Budget|CDK::Metadata|CE::\w+|CodeBuild::Project|DynamoDB::(Global)?Table|EC2::(VPC|Subnet|RouteTable|SubnetRouteTableAssociation|SecurityGroup(In|E)gress|SecurityGroup|FlowLog|LaunchTemplate|PlacementGroup)|ECR::Repository|Events::Rule|IAM::\w+|KMS::Alias|Lambda::(Function|Permission|EventInvokeConfig)|Logs::(LogGroup|MetricFilter|ResourcePolicy)|S3::Bucket(Policy)?|Scheduler::Schedule(Group)?|SecretsManager::ResourcePolicy|SNS::\w+|SQS::\w+|StepFunctions::StateMachine)$|^Custom::/;

/**
 * @param templates - of all stacks of a deployment
 * @returns what bills, the dearest first
 * @throws Error that names a kind of resource about which nothing is known here, or an environment that never scales to 0
 */
export function idleCosts(templates: readonly Template[]): IdleCost[] {
  const resources = templates.flatMap(({ Resources }) => Object.entries(Resources));
  const sums = new Map<string, { count: number; usdPerMonth: number }>();
  const add = (what: string, count: number, usdEach: number) => {
    const sum = sums.get(what) ?? { count: 0, usdPerMonth: 0 };
    sums.set(what, { count: sum.count + count, usdPerMonth: sum.usdPerMonth + count * usdEach });
  };
  for (const [id, { Type, Properties = {} }] of resources)
    switch (Type) {
      case "AWS::EC2::VPCEndpoint":
        if (Properties.VpcEndpointType === "Interface")
          add(
            "interface endpoints, each in each zone",
            Properties.SubnetIds.length,
            HOURS_A_MONTH * USD.interfaceEndpointHour,
          );
        break;
      case "AWS::EC2::NatGateway":
        add("NAT gateways", 1, HOURS_A_MONTH * USD.natGatewayHour);
        break;
      case "AWS::KMS::Key":
        add("KMS keys", 1, USD.keyMonth);
        break;
      case "AWS::SecretsManager::Secret":
        add("secrets", 1, USD.secretMonth);
        break;
      case "AWS::CloudWatch::Alarm":
        add("metrics of alarms", metricsOf(Properties), USD.alarmMetricMonth);
        break;
      case "AWS::CloudWatch::Dashboard":
        add("dashboards", 1, USD.dashboardMonth);
        break;
      case "AWS::Events::Rule":
        for (const { MemorySize, Environment } of functionsBehind(Properties, templates)) {
          add(
            "calls by timers a month",
            callsAMonth(Properties.ScheduleExpression),
            USD.functionRequest + (MemorySize / 1024) * LOOK_SECONDS * USD.functionGiBSecond,
          );
          const name = Environment?.Variables?.POWERTOOLS_SERVICE_NAME;
          const metrics = TIMER_METRICS[name];
          if (metrics === undefined)
            throw new Error(`idle-costs.ts does not know how many metrics ${name ?? id} writes when a timer calls it`);
          add("custom metrics that a timer writes", metrics, USD.customMetricMonth);
        }
        break;
      default:
        if (!FREE_WHEN_IDLE.test(Type))
          throw new Error(`idle-costs.ts does not know whether ${Type} (${id}) bills when idle`);
        if (Properties.ComputeResources?.MinvCpus > 0)
          throw new Error(`${id} keeps instances when idle: MinvCpus is not 0`);
    }
  return [...sums]
    .map(([what, sum]) => ({ what, ...sum }))
    .sort((a, b) => b.usdPerMonth - a.usdPerMonth || a.what.localeCompare(b.what));
}

/** An alarm on an expression bills each metric in it. */
const metricsOf = ({ Metrics }: { Metrics?: { MetricStat?: object }[] }): number =>
  Metrics?.filter(({ MetricStat }) => MetricStat).length ?? 1;

/** Functions that a rule calls by the clock; a rule that waits for an event calls none when idle. */
function functionsBehind(
  {
    ScheduleExpression,
    Targets = [],
  }: { ScheduleExpression?: string; Targets?: { Arn: { "Fn::GetAtt"?: [string] } }[] },
  templates: readonly Template[],
): NonNullable<Resource["Properties"]>[] {
  if (ScheduleExpression === undefined) return [];
  return Targets.flatMap(({ Arn }) => {
    const id = Arn["Fn::GetAtt"]?.[0] ?? "";
    const target = templates
      .map(({ Resources }) => Resources[id])
      .find((found) => found?.Type === "AWS::Lambda::Function");
    return target ? [target.Properties ?? {}] : [];
  });
}

function callsAMonth(expression: string): number {
  const [, count, unit] = /^rate\((\d+) (minute|hour|day)s?\)$/.exec(expression) ?? [];
  if (!count) throw new Error(`idle-costs.ts cannot count the calls of ${expression}`);
  return (HOURS_A_MONTH * { minute: 60, hour: 1, day: 1 / 24 }[unit as "minute" | "hour" | "day"]) / Number(count);
}

export const totalOf = (costs: readonly IdleCost[]): number => costs.reduce((sum, each) => sum + each.usdPerMonth, 0);

/** @param folder - a cloud assembly: cdk.out */
export const templatesIn = (folder: string): Template[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith(".template.json"))
    .map((name) => JSON.parse(readFileSync(path.join(folder, name), "utf8")));

if (import.meta.main) {
  const costs = idleCosts(templatesIn(process.argv[2] ?? "cdk.out"));
  const line = (what: string, count: string, usd: number) =>
    console.log(`${what.padEnd(44)}${count.padStart(8)}${usd.toFixed(2).padStart(10)}`);
  for (const { what, count, usdPerMonth } of costs) line(what, count.toFixed(0), usdPerMonth);
  line("USD a month", "", totalOf(costs));
  console.log(`${IDLE_PRICES_SOURCE}, ${IDLE_PRICES_DATE}. What is stored, carried or run bills on top.`);
}

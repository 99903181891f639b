// CloudWatch's rules for an alarm on one metric or on a sum of several, as its user guide has them: what state a series of
// values leads to.
export interface AlarmProperties {
  Namespace: string;
  MetricName: string;
  Dimensions?: { Name: string; Value: string }[];
  Statistic: string;
  ComparisonOperator: string;
  Threshold: number;
  EvaluationPeriods: number;
  DatapointsToAlarm?: number;
  TreatMissingData?: string;
}

/** An alarm on an expression; the metrics by the ids that it has for them. */
export interface MathAlarmProperties extends Omit<AlarmProperties, "Namespace" | "MetricName" | "Statistic"> {
  Metrics: {
    Id: string;
    Expression?: string;
    ReturnData?: boolean;
    MetricStat?: {
      Metric: { Namespace: string; MetricName: string; Dimensions: { Name: string; Value: unknown }[] };
      Period: number;
      Stat: string;
    };
  }[];
}

/** One embedded-metric-format line, as CloudWatch Logs reads it. */
export interface EmfLine {
  _aws: {
    CloudWatchMetrics: { Namespace: string; Dimensions: string[][]; Metrics: { Name: string; Unit: string }[] }[];
  };
  [field: string]: unknown;
}

/** The values of the alarm's metric in these lines: namespace, name and all dimensions have to be the alarm's. */
export function valuesFor(alarm: AlarmProperties, lines: readonly EmfLine[]): number[] {
  const wanted = JSON.stringify((alarm.Dimensions ?? []).map(({ Name, Value }) => [Name, Value]).sort());
  return lines.flatMap((line) =>
    line._aws.CloudWatchMetrics.filter(({ Namespace }) => Namespace === alarm.Namespace).flatMap((set) =>
      set.Dimensions.filter((names) => JSON.stringify(names.map((name) => [name, line[name]]).sort()) === wanted)
        .filter(() => set.Metrics.some(({ Name }) => Name === alarm.MetricName))
        .map(() => line[alarm.MetricName] as number),
    ),
  );
}

const compares: Record<string, (value: number, threshold: number) => boolean> = {
  GreaterThanOrEqualToThreshold: (value, threshold) => value >= threshold,
  GreaterThanThreshold: (value, threshold) => value > threshold,
  LessThanThreshold: (value, threshold) => value < threshold,
  LessThanOrEqualToThreshold: (value, threshold) => value <= threshold,
};

const statistics: Record<string, (values: readonly number[]) => number> = {
  Maximum: (values) => Math.max(...values),
  Minimum: (values) => Math.min(...values),
  Sum: (values) => values.reduce((sum, value) => sum + value, 0),
};

/**
 * @param periods - the values of each period, oldest first
 * @returns the state after each period
 */
export function statesOf(
  alarm: AlarmProperties,
  periods: readonly (readonly number[])[],
): ("OK" | "ALARM" | "INSUFFICIENT_DATA")[] {
  const isBreach = compares[alarm.ComparisonOperator]!;
  let state: "OK" | "ALARM" | "INSUFFICIENT_DATA" = "INSUFFICIENT_DATA";
  return periods.map((_, at) => {
    const window = periods.slice(Math.max(0, at + 1 - alarm.EvaluationPeriods), at + 1);
    const judged = window.map((values) => {
      if (values.length > 0) return isBreach(statistics[alarm.Statistic]!(values), alarm.Threshold);
      return { breaching: true, notBreaching: false }[alarm.TreatMissingData ?? "missing"];
    });
    // "ignore": without a value the state stays.
    if (judged.every((breach) => breach === undefined)) return state;
    const breaches = judged.filter((breach) => breach === true).length;
    state = breaches >= (alarm.DatapointsToAlarm ?? alarm.EvaluationPeriods) ? "ALARM" : "OK";
    return state;
  });
}

/** Of each metric by its id; without a value it said nothing in that period. */
export type PeriodValues = Readonly<Record<string, readonly number[]>>;

/** @returns the state after each period */
export function statesOfMath(
  alarm: MathAlarmProperties,
  periods: readonly PeriodValues[],
): ReturnType<typeof statesOf> {
  const { Expression } = alarm.Metrics.find(({ ReturnData }) => ReturnData !== false)!;
  const values = periods.map((period) => sumOf(Expression!, (id) => periodValue(alarm, id, period[id] ?? [])));
  return statesOf(
    { ...alarm, Namespace: "", MetricName: "", Statistic: "Maximum" },
    values.map((value) => (value === undefined ? [] : [value])),
  );
}

function periodValue({ Metrics }: MathAlarmProperties, id: string, values: readonly number[]): number | undefined {
  const stat = Metrics.find(({ Id }) => Id === id)?.MetricStat?.Stat;
  if (stat === undefined) throw new Error(`The expression names ${id}, which is no metric of the alarm.`);
  return values.length === 0 ? undefined : statistics[stat]!(values);
}

/**
 * A sum of metrics and of FILL(metric, number). The user guide has a missing value count as 0 in a sum, yet people see
 * sums without a value where a metric never had one: judged by the worse of the two.
 */
function sumOf(expression: string, valueOfId: (id: string) => number | undefined): number | undefined {
  const terms = expression.split("+").map((term) => {
    const [, filled, filler, bare] = /^\s*(?:FILL\((\w+),\s*(\d+)\)|(\w+))\s*$/.exec(term) ?? [];
    if (filled) return valueOfId(filled) ?? Number(filler);
    if (bare) return valueOfId(bare);
    throw new Error(`No sum of metrics: ${expression}`);
  });
  return terms.includes(undefined) ? undefined : terms.reduce<number>((sum, term) => sum + term!, 0);
}

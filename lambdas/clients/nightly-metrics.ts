// A night's measures as CloudWatch metrics: EMF lines in the function's log, so that no permission is needed.
import { type Metrics, MetricUnit } from "@aws-lambda-powertools/metrics";
import { type NightlyComparison, NIGHTLY_METRICS as names } from "../../lib/contracts/night.ts";
import { worstOf } from "../report/nightly.ts";

/** What could not be compared has no value: the alarms then keep the state that they are in. */
export function emitNight(metrics: Metrics, dataset: string, comparison: NightlyComparison): void {
  const timed = comparison.rows.filter(({ volumesPerSecond }) => volumesPerSecond !== null);
  metrics.addMetric(names.rows, MetricUnit.Count, timed.length);
  metrics.addMetric(names.rowsMissing, MetricUnit.Count, comparison.missing.length);
  const speed = worstOf(comparison, "speedFallPercent");
  if (speed !== undefined) metrics.addMetric(names.speedFallPercent, MetricUnit.Percent, speed);
  const score = worstOf(comparison, "diceFall", "aucFall");
  if (score !== undefined) metrics.addMetric(names.diceFall, MetricUnit.NoUnit, score);
  metrics.publishStoredMetrics();
  for (const { row, volumesPerSecond, dice, auc = null } of comparison.rows) {
    if (volumesPerSecond === null && dice === null && auc === null) continue;
    metrics.addDimensions({ dataset, row });
    if (volumesPerSecond !== null)
      metrics.addMetric(names.volumesPerSecond, MetricUnit.CountPerSecond, volumesPerSecond);
    if (dice !== null) metrics.addMetric(names.dice, MetricUnit.NoUnit, dice);
    if (auc !== null) metrics.addMetric(names.auc, MetricUnit.NoUnit, auc);
    metrics.publishStoredMetrics();
  }
}

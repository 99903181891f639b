// Dollars: what a run cost, and what it would have cost at the plan's named and dated price.
import {
  PRICES,
  PRICES_DATE,
  PRICES_SOURCE,
  type ReportInput,
  SAGEMAKER_MOST_PER_EC2,
  type StageName,
  sageMakerUsdPerHour,
} from "../../lib/contracts/index.ts";
import type { TaskCost } from "../ledger/ports.ts";
import type { Amounts } from "./amounts.ts";
import type { Job, RunFacts } from "./gather.ts";
import { mergeJobs } from "./merge.ts";
import type { PricedAs, ReportPorts } from "./ports.ts";

export interface Pricing {
  where: "local" | "aws";
  pricedAs?: PricedAs;
  /** USD that one stage cost, given its jobs: 0 on one machine. */
  usd(stage: StageName, jobs: readonly Job[]): number;
  /** USD of the same minutes at the named price; 0 when there is none. */
  equivalentUsd(jobs: readonly Job[]): number;
  /** USD an hour of what produced a rate of volumes: `workers` jobs at once; null when no price is known. */
  usdPerHour(job: Job, workers: number): number | null;
  /** What a reader must know of the dollars. */
  notes: string[];
}

/** @returns how this run is priced: local runs as one instance of the named type, AWS by what the ledger settled. */
export function pricingOf(input: ReportInput, facts: RunFacts, amounts: Amounts, ports: ReportPorts): Pricing {
  const where = ports.machine?.where ?? (input.request.artefactsUri.startsWith("file://") ? "local" : "aws");
  const pricedAs = facts.plan?.estimate.pricedAs;
  return where === "local" ? localPricing(pricedAs) : awsPricing(pricedAs, facts, amounts);
}

/** One machine is one instance, however many processes share it. */
function localPricing(pricedAs: PricedAs | undefined): Pricing {
  const named = pricedAs?.usdPerHour;
  return {
    where: "local",
    pricedAs,
    usd: () => 0,
    equivalentUsd: (jobs) => (mergeJobs(jobs).runningSeconds / 3600) * (named ?? 0),
    usdPerHour: () => named ?? null,
    notes: [
      pricedAs
        ? `On one machine a run costs nothing; the equivalent is the same minutes of one ${namedPrice(pricedAs)}.`
        : "No equivalent in dollars: the run ended before plan could name a price.",
    ],
  };
}

/**
 * Totals are the ledger's, of every try and rung. A rate is priced at the share of an instance that produced it, on the
 * rung where it was measured. What the ledger does not know counts at its share of the plan's instance.
 */
function awsPricing(pricedAs: PricedAs | undefined, facts: RunFacts, amounts: Amounts): Pricing {
  const { own, rungOf } = amounts;
  const known = new Set(own.map(({ taskId }) => taskId));
  const isUnknown = ({ taskId, reused }: Job) => !reused && !known.has(taskId);
  const planned = (jobs: readonly Job[]) =>
    jobs
      .filter(({ reused }) => !reused)
      .reduce((sum, job) => sum + (job.result.seconds / 3600) * (plannedUsdPerHour(job, pricedAs) ?? 0), 0);
  return {
    where: "aws",
    pricedAs,
    usd: (stage, jobs) =>
      own.filter((cost) => cost.stage === stage).reduce((sum, { spentUsd }) => sum + spentUsd, 0) +
      planned(jobs.filter(isUnknown)),
    equivalentUsd: planned,
    usdPerHour: (job, workers) => {
      const rung = rungOf(job);
      if (rung) return rung.usdPerHour * instancesUsed(job, workers, rung);
      const price = plannedUsdPerHour(job, pricedAs);
      return price === undefined ? null : price * workers;
    },
    notes: [
      ...ledgerNotes(own),
      ...(own.length > 0 ? [sharesNote(sharesUsd(facts.jobs, rungOf))] : []),
      ...unknownNotes(
        facts.jobs.filter((job) => !rungOf(job) && (isUnknown(job) || job.result.stage === "train")),
        pricedAs,
        amounts.unread,
      ),
    ],
  };
}

/** From stage times and shares of instances: what the attempts that finished held, on the rungs where they ran. */
const sharesUsd = (jobs: readonly Job[], rungOf: Amounts["rungOf"]): number =>
  jobs
    .filter(({ reused }) => !reused)
    .reduce((sum, job) => {
      const rung = rungOf(job);
      return sum + (rung ? (job.result.seconds / 3600) * rung.usdPerHour * instancesUsed(job, 1, rung) : 0);
    }, 0);

const sharesNote = (usd: number): string =>
  `The time of the attempts that finished, at the shares of instances that they held, is ${usd.toFixed(2)} USD: what starts, idle time and lost attempts cost is not in it.`;

/** A training has all instances of its job; children have shares, of no more instances than their job had. */
function instancesUsed({ result }: Job, workers: number, { instances, childrenPerInstance }: TaskCost): number {
  return result.stage === "train" ? instances : Math.min(workers / childrenPerInstance, instances);
}

/**
 * At EC2's price of the plan's instance: one of its GPUs for a child, whole instances for a training.
 *
 * @returns undefined of ingest, which has no GPU, and of a type that is not in the table
 */
function plannedUsdPerHour({ result }: Job, pricedAs: PricedAs | undefined): number | undefined {
  const type = PRICES.find(({ instanceType }) => instanceType === pricedAs?.instanceType);
  if (!pricedAs || !type || result.stage === "ingest") return undefined;
  const instances = result.stage === "train" ? Math.max(1, Math.ceil(result.host.devices / type.gpus)) : 1 / type.gpus;
  return pricedAs.usdPerHour * instances;
}

/** What the ledger's dollars are, and what they are not yet. */
function ledgerNotes(own: readonly TaskCost[]): string[] {
  if (own.length === 0) return [];
  const typesOf = (costs: readonly TaskCost[]) =>
    [...new Set(costs.map(({ instanceType }) => instanceType))].join(", ");
  const ingest = own.filter(({ stage }) => stage === "ingest");
  const guessed = own.filter(
    ({ service, instanceType }) => service !== "batch" && sageMakerUsdPerHour(instanceType) === undefined,
  );
  const held = own.filter(({ heldUsd }) => heldUsd > 0);
  return [
    `Dollars are what the ledger settled: the instances of every attempt and rung, also those that Spot took back, each as a whole from its start to its idle end, at On-Demand prices (${PRICES_SOURCE}, ${PRICES_DATE}, or the deployment's own). Spot and shared instances make the bill lower. Dollars per volume count the share of the instances that the task's last rung gave it.`,
    ...(ingest.length > 0
      ? [`The instances of ingest are priced as ${typesOf(ingest)}, the dearest type that it may run on.`]
      : []),
    ...(guessed.length > 0
      ? [
          `SageMaker's own price of ${typesOf(guessed)} is not in the table: ${SAGEMAKER_MOST_PER_EC2} times EC2's, the most that is known of any type, stands in for it.`,
        ]
      : []),
    ...(held.length > 0
      ? [
          `Not settled yet, and not in the dollars: ${held.map(({ taskId, rung, heldUsd }) => `${taskId} on ${rung}, at most ${heldUsd.toFixed(2)} USD`).join("; ")}. \`voxelburst cost\` shows it once it is.`,
        ]
      : []),
  ];
}

/** What the ledger does not know, or could not be asked for. */
function unknownNotes(jobs: readonly Job[], pricedAs: PricedAs | undefined, unread: string | undefined): string[] {
  const reason = unread ? `The ledger could not be read (${unread})` : "The ledger has no record of some tasks";
  const tasks = (of: readonly Job[]) => [...new Set(of.map(({ taskId }) => taskId))].join(", ");
  const priced = jobs.filter((job) => plannedUsdPerHour(job, pricedAs) !== undefined);
  const unpriced = jobs.filter((job) => plannedUsdPerHour(job, pricedAs) === undefined);
  return [
    ...(priced.length > 0
      ? [
          `${reason}: the dollars of ${tasks(priced)} are the time of the attempts that finished, at the share of one ${namedPrice(pricedAs!)} that they would hold, whatever rung they ran on. Attempts that Spot took back are on the bill alone.`,
        ]
      : []),
    ...(unpriced.length > 0
      ? [`${reason}: the dollars of ${tasks(unpriced)} are missing, since no price of what they ran on is known.`]
      : []),
  ];
}

const namedPrice = ({ instanceType, usdPerHour, source, date }: PricedAs): string =>
  `${instanceType} at ${usdPerHour} USD an hour (${source}, ${date})`;

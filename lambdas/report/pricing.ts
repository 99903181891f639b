// Dollars: what a run cost, and what it would have cost at the plan's named and dated price.
import type { ReportInput } from "../../lib/contracts/index.ts";
import type { Job, RunFacts } from "./gather.ts";
import { mergeJobs } from "./merge.ts";
import type { PricedAs, ReportPorts } from "./ports.ts";

export interface Pricing {
  where: "local" | "aws";
  pricedAs?: PricedAs;
  /** USD that the jobs of one stage cost: 0 on one machine. */
  usd(jobs: readonly Job[]): number;
  /** USD of the same minutes at the named price; 0 when there is none. */
  equivalentUsd(jobs: readonly Job[]): number;
  /** USD an hour of what produced a rate of volumes: `workers` jobs at once; null when no price is known. */
  usdPerHour(job: Job, workers: number): number | null;
  /** What a reader must know of the dollars. */
  notes: string[];
}

/** @returns how this run is priced: local runs as one instance of the named type, AWS by shares of instances. */
export function pricingOf(input: ReportInput, facts: RunFacts, ports: ReportPorts): Pricing {
  const where = ports.machine?.where ?? (input.request.artefactsUri.startsWith("file://") ? "local" : "aws");
  const pricedAs = facts.plan?.estimate.pricedAs;
  const named = pricedAs?.usdPerHour;
  const own = facts.jobs.filter((job) => !job.reused);
  const askPrice = ({ result }: Job) => ports.prices?.usdPerHour({ stage: result.stage, host: result.host });

  const notes: string[] = [];
  if (where === "local")
    notes.push(
      pricedAs
        ? `On one machine a run costs nothing; the equivalent is the same minutes of one ${pricedAs.instanceType} at ${pricedAs.usdPerHour} USD an hour (${pricedAs.source}, ${pricedAs.date}).`
        : "No equivalent in dollars: the run ended before plan could name a price.",
    );
  else {
    const unpriced = own.filter((job) => askPrice(job) === undefined);
    if (unpriced.length > 0)
      notes.push(
        pricedAs
          ? `Dollars of ${unpriced.length} of ${own.length} jobs are at the plan's price of a whole ${pricedAs.instanceType}, ${pricedAs.usdPerHour} USD an hour (${pricedAs.source}, ${pricedAs.date}): what they ran on has no price here.`
          : `Dollars of ${unpriced.length} of ${own.length} jobs are missing: what they ran on has no price here, and plan named none.`,
      );
    notes.push(
      "Dollars count the attempt of each job that finished; attempts that Spot took back are on the bill alone.",
    );
  }

  return {
    where,
    pricedAs,
    usd: (jobs) =>
      where === "local"
        ? 0
        : jobs
            .filter((job) => !job.reused)
            .reduce((sum, job) => sum + (job.result.seconds / 3600) * (askPrice(job) ?? named ?? 0), 0),
    equivalentUsd: (jobs) => {
      // One machine is one instance, however many processes share it; on AWS every child holds its own.
      const seconds =
        where === "local"
          ? mergeJobs(jobs).runningSeconds
          : jobs.filter((job) => !job.reused).reduce((sum, job) => sum + job.result.seconds, 0);
      return (seconds / 3600) * (named ?? 0);
    },
    usdPerHour: (job, workers) => {
      if (where === "local") return named ?? null;
      const price = askPrice(job) ?? named;
      return price === undefined ? null : price * workers;
    },
    notes,
  };
}

// Time, memory and dollars of each stage that ran, children merged.
import type { Host, Report, StageName } from "../../lib/contracts/index.ts";
import { type Job, jobsOf, type RunFacts } from "./gather.ts";
import { mergeJobs } from "./merge.ts";
import type { Pricing } from "./pricing.ts";

export type StageReport = Report["stages"][number];

const JOB_STAGES = ["ingest", "preprocess", "train", "compile", "infer"] as const satisfies StageName[];

/** Cases done and skipped; trainings and engines count as one each. */
function counts(stage: (typeof JOB_STAGES)[number], jobs: readonly Job[]): { done: number; skipped: number } {
  if (stage === "train" || stage === "compile")
    return { done: jobs.filter((job) => !job.reused).length, skipped: jobs.filter((job) => job.reused).length };
  return jobs.reduce(
    (sum, { result }) =>
      "done" in result ? { done: sum.done + result.done, skipped: sum.skipped + result.skipped } : sum,
    { done: 0, skipped: 0 },
  );
}

/** The host of the longest job, with the versions and fallbacks of all of them: engines differ in what they load. */
function hostOf(jobs: readonly Job[]): Host | undefined {
  const longest = jobs.toSorted((a, b) => b.result.seconds - a.result.seconds)[0]?.result.host;
  if (!longest) return undefined;
  const versions = new Map<string, Set<string>>();
  for (const { result } of jobs)
    for (const [name, version] of Object.entries(result.host.versions))
      versions.set(name, (versions.get(name) ?? new Set()).add(version));
  return {
    ...longest,
    versions: Object.fromEntries([...versions].map(([name, found]) => [name, [...found].join(" and ")])),
    fallbacks: [...new Set(jobs.flatMap(({ result }) => result.host.fallbacks))],
  };
}

/** Stages that left a result, were skipped whole or cost something; the others are absent. */
export function stagesOf(facts: RunFacts, pricing: Pricing, preprocessSkipped: boolean): StageReport[] {
  return JOB_STAGES.flatMap((stage): StageReport[] => {
    const jobs: Job[] = jobsOf(facts.jobs, stage);
    if (jobs.length === 0) {
      const usd = pricing.usd(stage, jobs);
      const nothing = { seconds: 0, cpuOrGpuSeconds: 0, peakMemoryMiB: 0, done: 0, usd, equivalentUsd: 0 };
      if (usd > 0) return [{ stage, ...nothing, skipped: 0 }];
      if (stage !== "preprocess" || !preprocessSkipped) return [];
      const cases = new Set((facts.plan?.folds ?? []).flatMap((fold) => [...fold.train, ...fold.validation]));
      return [{ stage, ...nothing, skipped: cases.size }];
    }
    const { seconds, cpuOrGpuSeconds, peakMemoryMiB } = mergeJobs(jobs);
    const host = hostOf(jobs.filter((job) => !job.reused));
    return [
      {
        stage,
        seconds,
        cpuOrGpuSeconds,
        peakMemoryMiB,
        ...counts(stage, jobs),
        usd: pricing.usd(stage, jobs),
        equivalentUsd: pricing.equivalentUsd(jobs),
        ...(host && { host }),
      },
    ];
  });
}

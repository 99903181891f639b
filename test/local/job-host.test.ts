import { setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { TaskAbort } from "../../lib/local/asl/errors.ts";
import { jobSignal } from "../../lib/local/job-host.ts";
import { RunningJobs } from "../../lib/local/running-jobs.ts";
import { Slots } from "../../lib/local/slots.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** A job that has had its slot and now listens for its end, with each of the three that can end it. */
async function jobAtWork(told: () => void) {
  const [state, closing, running] = [new AbortController(), new AbortController(), new RunningJobs()];
  const job = jobSignal("job", state.signal, { closing: closing.signal, running });
  const slots = new Slots({ cpus: 1, gpuIds: [], memoryMiB: 1 });
  (await slots.acquire({ cpus: 1, gpus: 0, memoryMiB: 1 }, job.signal))[Symbol.dispose]();
  // As a node of a multi-node job hears of it, of which nothing else keeps hold.
  AbortSignal.any([job.signal, new AbortController().signal]).addEventListener("abort", told, { once: true });
  job.signal.addEventListener("abort", told, { once: true });
  return { state, closing, running, job };
}

describe("the signal that ends a job", () => {
  test.each([
    ["its state is stopped", (job: Job) => job.state.abort(new TaskAbort("stopped"))],
    ["the ledger stops it", (job: Job) => job.running.stop("job")],
    ["the engine closes", (job: Job) => job.closing.abort()],
  ])("arrives when %s, however much garbage was collected while the job worked", async (_when, end) => {
    let heard = 0;
    const jobs = await Promise.all(Array.from({ length: 200 }, () => jobAtWork(() => heard++)));
    for (let times = 0; times < 5; times++) {
      collectGarbage();
      await turn(); // what is to be finalized is finalized between two turns
    }
    for (const job of jobs) end(job);
    expect(heard).toBe(2 * jobs.length);
    for (const { job } of jobs) job[Symbol.dispose]();
  });

  test("does not arrive when the state alone has timed out: its job goes on, as on AWS", async () => {
    let heard = 0;
    const { state, job } = await jobAtWork(() => heard++);
    state.abort(new TaskAbort("state-timeout"));
    expect([heard, job.signal.aborted]).toEqual([0, false]);
    job[Symbol.dispose]();
  });
});

type Job = Awaited<ReturnType<typeof jobAtWork>>;

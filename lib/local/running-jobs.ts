// Which jobs of a run are at work on this machine, so that what a timed-out state left behind can be stopped, as the
// ledger stops it on AWS.

export class RunningJobs {
  private readonly jobs = new Map<string, AbortController>();

  /** Enters a job under its name; disposing it takes it out again. Its signal is aborted when it is to stop. */
  enter(name: string): Disposable & { signal: AbortSignal } {
    const stop = new AbortController();
    this.jobs.set(name, stop);
    return { signal: stop.signal, [Symbol.dispose]: () => this.jobs.delete(name) };
  }

  /** @param name - of a job, or the start of one and an asterisk: contracts/ledger.ts' boundedJob */
  isAlive(name: string): boolean {
    return this.matching(name).length > 0;
  }

  stop(name: string): void {
    for (const stop of this.matching(name)) stop.abort(new Error("The job is stopped: nobody waits for it any more."));
  }

  private matching(name: string): AbortController[] {
    const start = name.replace(/\*$/, "");
    return [...this.jobs].flatMap(([job, stop]) =>
      (name.endsWith("*") ? job.startsWith(start) : job === name) ? [stop] : [],
    );
  }
}

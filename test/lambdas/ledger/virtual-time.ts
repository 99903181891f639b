// Time that passes when everybody sleeps: days of a deployment in milliseconds.

export class VirtualTime {
  nowMs: number;
  private readonly sleepers: { atMs: number; wake: () => void }[] = [];

  constructor(startMs: number) {
    this.nowMs = startMs;
  }

  now(): Date {
    return new Date(this.nowMs);
  }

  sleep(seconds: number): Promise<void> {
    return new Promise((wake) => this.sleepers.push({ atMs: this.nowMs + Math.max(0, seconds) * 1000, wake }));
  }

  /** Lets time pass until every one of these has come to its end. */
  async until(all: readonly Promise<unknown>[]): Promise<void> {
    let isDone = false;
    const done = Promise.all(all).finally(() => {
      isDone = true;
    });
    done.catch(() => undefined); // thrown below
    for (;;) {
      // Whoever is awake goes on until it sleeps.
      await new Promise((resolve) => setImmediate(resolve));
      if (isDone) return void (await done);
      this.sleepers.sort((a, b) => a.atMs - b.atMs);
      const next = this.sleepers.shift();
      if (!next) return void (await done);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.wake();
    }
  }
}

// A clock whose sleeps take no time: it jumps to the next one when nothing else is going on.
import type { Clock } from "../../../lib/local/asl/ports.ts";

interface Sleeper {
  at: number;
  wake(): void;
}

export class VirtualClock implements Clock {
  /** Every sleep that was not cut short, in milliseconds and in order of its beginning. */
  readonly slept: number[] = [];
  #now: number;
  #sleepers: Sleeper[] = [];
  #ticking = false;

  constructor(start = "2030-01-01T00:00:00.000Z") {
    this.#now = Date.parse(start);
  }

  now(): Date {
    return new Date(this.#now);
  }

  advance(milliseconds: number): void {
    this.#now += milliseconds;
  }

  sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) {
        resolve();
        return;
      }
      const index = this.slept.push(milliseconds) - 1;
      const sleeper: Sleeper = { at: this.#now + milliseconds, wake: resolve };
      signal.addEventListener(
        "abort",
        () => {
          if (!this.#sleepers.includes(sleeper)) return;
          this.#sleepers = this.#sleepers.filter((each) => each !== sleeper);
          this.slept.splice(index, 1);
          resolve();
        },
        { once: true },
      );
      this.#sleepers.push(sleeper);
      this.#tick();
    });
  }

  /** Lets everything that is ready run first: a few turns of the event loop pass before time does. */
  #tick(turns = 5): void {
    if (this.#ticking && turns === 5) return;
    this.#ticking = true;
    setImmediate(() => {
      if (turns > 1) {
        this.#tick(turns - 1);
        return;
      }
      this.#ticking = false;
      this.#sleepers.sort((a, b) => a.at - b.at);
      const next = this.#sleepers[0];
      if (!next) return;
      this.#now = Math.max(this.#now, next.at);
      const due = this.#sleepers.filter(({ at }) => at <= this.#now);
      this.#sleepers = this.#sleepers.filter(({ at }) => at > this.#now);
      for (const sleeper of due) sleeper.wake();
      if (this.#sleepers.length > 0) this.#tick();
    });
  }
}

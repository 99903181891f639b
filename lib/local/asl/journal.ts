// Writes an execution's history: numbers its events and hands them to the sink one after the other.
import type { EventDetails, HistoryEvent } from "./history-event.ts";
import type { Clock } from "./ports.ts";

export type Sink = (event: HistoryEvent) => void | Promise<void>;

/** Events of concurrent branches reach the sink in the order of their ids, and none after one that it refused. */
export class OrderedSink {
  readonly #sink: Sink;
  #last: Promise<void> = Promise.resolve();

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  write(event: HistoryEvent): Promise<void> {
    this.#last = this.#last.then(() => this.#sink(event));
    // Whoever wrote the event hears of it; the chain itself must not count as unhandled.
    this.#last.catch(() => {});
    return this.#last;
  }
}

/** The history of one execution. A child execution of a distributed Map has its own, on the same sink. */
export class Journal {
  readonly #sink: OrderedSink;
  readonly #clock: Clock;
  readonly #childArn: string | undefined;
  #lastId: number;

  constructor(options: { sink: OrderedSink; clock: Clock; childArn?: string; lastId: number }) {
    this.#sink = options.sink;
    this.#clock = options.clock;
    this.#childArn = options.childArn;
    this.#lastId = options.lastId;
  }

  get lastId(): number {
    return this.#lastId;
  }

  /** Resolves when the sink has kept the event. @throws what the sink throws: the execution then stops as it is */
  async record(type: string, previousEventId: number, details: EventDetails = {}): Promise<HistoryEvent> {
    const event: HistoryEvent = {
      timestamp: this.#clock.now().toISOString(),
      type,
      id: ++this.#lastId,
      previousEventId,
      ...details,
      ...(this.#childArn === undefined ? {} : { executionArn: this.#childArn }),
    };
    await this.#sink.write(event);
    return event;
  }
}

// What this machine has to give: cores, GPUs, memory. Jobs wait for their share in the order in which they ask.

export interface Capacity {
  cpus: number;
  /** Ids as CUDA_VISIBLE_DEVICES takes them. */
  gpuIds: readonly string[];
  memoryMiB: number;
}

export interface Share {
  cpus: number;
  gpus: number;
  memoryMiB: number;
}

export interface Lease extends Disposable {
  gpuIds: readonly string[];
}

interface Waiting {
  share: Share;
  grant(lease: Lease): void;
}

export class Slots {
  readonly capacity: Capacity;
  private cpus: number;
  private memoryMiB: number;
  private gpuIds: string[];
  private readonly queue: Waiting[] = [];

  constructor(capacity: Capacity) {
    this.capacity = capacity;
    this.cpus = capacity.cpus;
    this.memoryMiB = capacity.memoryMiB;
    this.gpuIds = [...capacity.gpuIds];
  }

  /**
   * Waits until the share is free. What asks for more than the whole machine gets the whole machine.
   *
   * @throws the signal's reason when it is aborted first
   */
  acquire(wanted: Share, signal: AbortSignal): Promise<Lease> {
    const share = {
      cpus: Math.min(wanted.cpus, this.capacity.cpus),
      gpus: Math.min(wanted.gpus, this.capacity.gpuIds.length),
      memoryMiB: Math.min(wanted.memoryMiB, this.capacity.memoryMiB),
    };
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const leave = () => {
        const index = this.queue.indexOf(waiting);
        if (index >= 0) this.queue.splice(index, 1);
        reject(signal.reason);
        this.serve();
      };
      const waiting: Waiting = {
        share,
        grant(lease) {
          signal.removeEventListener("abort", leave);
          resolve(lease);
        },
      };
      signal.addEventListener("abort", leave, { once: true });
      this.queue.push(waiting);
      this.serve();
    });
  }

  /** Strictly in order: a large share that waits is not overtaken for ever by small ones. */
  private serve(): void {
    for (let first = this.queue[0]; first && this.fits(first.share); first = this.queue[0]) {
      this.queue.shift();
      first.grant(this.take(first.share));
    }
  }

  private fits(share: Share): boolean {
    return share.cpus <= this.cpus && share.memoryMiB <= this.memoryMiB && share.gpus <= this.gpuIds.length;
  }

  private take(share: Share): Lease {
    this.cpus -= share.cpus;
    this.memoryMiB -= share.memoryMiB;
    const gpuIds = this.gpuIds.splice(0, share.gpus);
    let held = true;
    return {
      gpuIds,
      [Symbol.dispose]: () => {
        if (!held) return;
        held = false;
        this.cpus += share.cpus;
        this.memoryMiB += share.memoryMiB;
        this.gpuIds.push(...gpuIds);
        this.serve();
      },
    };
  }
}

/**
 * How many children of one array run at a time, and with how many cores each.
 *
 * @param children - of the array
 * @param childMemoryMiB - of the largest child, as estimated
 * @param onGpus - whether each child takes a GPU
 */
export function fanOut(
  children: number,
  childMemoryMiB: number,
  onGpus: boolean,
  { cpus, gpuIds, memoryMiB }: Capacity,
): { atOnce: number; cpusEach: number } {
  const byMemory = Math.max(1, Math.floor(memoryMiB / Math.max(childMemoryMiB, 1)));
  const byDevice = onGpus ? gpuIds.length : cpus;
  const atOnce = Math.max(1, Math.min(children, byMemory, byDevice, cpus));
  return { atOnce, cpusEach: Math.max(1, Math.floor(cpus / atOnce)) };
}

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fanOut, Slots } from "../../lib/local/slots.ts";

const never = new AbortController().signal;

describe("shares of the machine", () => {
  test("are never more than it has, and all are granted in the end, in order", async () => {
    const share = fc.record({ cpus: fc.nat(6), gpus: fc.nat(3), memoryMiB: fc.nat(3000) });
    await fc.assert(
      fc.asyncProperty(fc.array(share, { maxLength: 20 }), async (shares) => {
        const slots = new Slots({ cpus: 4, gpuIds: ["a", "b"], memoryMiB: 2000 });
        const granted: number[] = [];
        const held = { cpus: 0, memoryMiB: 0, gpus: new Set<string>() };
        await Promise.all(
          shares.map(async (wanted, index) => {
            using lease = await slots.acquire(wanted, never);
            granted.push(index);
            const cpus = Math.min(wanted.cpus, 4);
            const memoryMiB = Math.min(wanted.memoryMiB, 2000);
            held.cpus += cpus;
            held.memoryMiB += memoryMiB;
            for (const id of lease.gpuIds) {
              expect(held.gpus.has(id)).toBe(false);
              held.gpus.add(id);
            }
            expect(lease.gpuIds).toHaveLength(Math.min(wanted.gpus, 2));
            expect(held.cpus).toBeLessThanOrEqual(4);
            expect(held.memoryMiB).toBeLessThanOrEqual(2000);
            await new Promise(setImmediate);
            held.cpus -= cpus;
            held.memoryMiB -= memoryMiB;
            for (const id of lease.gpuIds) held.gpus.delete(id);
          }),
        );
        expect(granted).toEqual(shares.map((_, index) => index));
      }),
      { numRuns: 50 },
    );
  });

  test("that are no longer wanted leave the queue and let the next one pass", async () => {
    const slots = new Slots({ cpus: 2, gpuIds: [], memoryMiB: 100 });
    const first = await slots.acquire({ cpus: 1, gpus: 0, memoryMiB: 1 }, never);
    const stop = new AbortController();
    const large = slots.acquire({ cpus: 2, gpus: 0, memoryMiB: 1 }, stop.signal);
    const small = slots.acquire({ cpus: 1, gpus: 0, memoryMiB: 1 }, never);
    stop.abort(new Error("not wanted"));
    await expect(large).rejects.toThrow("not wanted");
    await small;
    first[Symbol.dispose]();
  });
});

describe("an array's children", () => {
  const machine = { cpus: 8, gpuIds: [], memoryMiB: 16_000 };
  test.each([
    ["one a core", 100, 500, false, machine, { atOnce: 8, cpusEach: 1 }],
    ["no more than there are", 2, 500, false, machine, { atOnce: 2, cpusEach: 4 }],
    ["as many as memory holds", 100, 6000, false, machine, { atOnce: 2, cpusEach: 4 }],
    ["one where not even one fits", 100, 99_000, false, machine, { atOnce: 1, cpusEach: 8 }],
    ["one a GPU", 100, 500, true, { ...machine, gpuIds: ["0", "1"] }, { atOnce: 2, cpusEach: 4 }],
  ])("run %s", (_, children, memory, onGpus, capacity, expected) => {
    expect(fanOut(children, memory, onGpus, capacity)).toEqual(expected);
  });
});

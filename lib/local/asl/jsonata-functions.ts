// The functions that Step Functions adds to JSONata, and those it replaces.
// https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html
import { createHash } from "node:crypto";
import jsonata from "jsonata";

/** Step Functions' limit of the intrinsic that $range stands for. */
const LONGEST_RANGE = 1000;
const ALGORITHMS: { [name: string]: string } = {
  MD5: "md5",
  "SHA-1": "sha1",
  "SHA-256": "sha256",
  "SHA-384": "sha384",
  "SHA-512": "sha512",
};

/** Names that an expression may call although no library function or variable has them. */
export const ADDED_FUNCTIONS = ["partition", "range", "hash", "random", "uuid", "parse"] as const;

/**
 * Where $random, $uuid, $now and $millis get their values. `seed` names one evaluation in one execution, so that an
 * evaluation repeated after a crash gives what it gave before.
 */
export interface EvaluationSource {
  seed: string;
  now: Date;
}

class FunctionError extends Error {}

const fromMillis = [
  jsonata("$fromMillis($millis)"),
  jsonata("$fromMillis($millis, $picture)"),
  jsonata("$fromMillis($millis, $picture, $zone)"),
] as const;

/** @returns the functions by name, to be bound for one evaluation */
export function awsFunctions(source: EvaluationSource): {
  [name: string]: ((...args: never[]) => unknown) | undefined;
} {
  let draws = 0;
  const bytes = (): Buffer => createHash("sha256").update(`${source.seed}|${draws++}`).digest();
  const millis = source.now.getTime();

  return {
    now(picture?: string, zone?: string) {
      const form = zone !== undefined ? 2 : picture !== undefined ? 1 : 0;
      return fromMillis[form].evaluate(undefined, { millis, picture, zone });
    },
    millis: () => millis,
    uuid: () => uuidOf(bytes()),
    random(seed?: unknown) {
      if (seed === undefined) return fraction(bytes());
      if (typeof seed !== "number" || !Number.isFinite(seed))
        throw new FunctionError("$random takes a number as its seed");
      return javaRandom(seed);
    },
    partition(array?: unknown, size?: unknown) {
      if (array === undefined) return undefined;
      const items = Array.isArray(array) ? array : [array];
      if (typeof size !== "number" || Math.round(size) < 1)
        throw new FunctionError("$partition takes a positive number as its chunk size");
      const chunk = Math.round(size);
      return Array.from({ length: Math.ceil(items.length / chunk) }, (_, i) => items.slice(i * chunk, (i + 1) * chunk));
    },
    range(first?: unknown, last?: unknown, step: unknown = 1) {
      if (first === undefined || last === undefined) return undefined;
      if (typeof first !== "number" || typeof last !== "number" || typeof step !== "number")
        throw new FunctionError("$range takes three numbers");
      if (step === 0) throw new FunctionError("$range cannot step by 0");
      const count = Math.max(0, Math.floor((last - first) / step) + 1);
      if (count > LONGEST_RANGE)
        throw new FunctionError(`$range gives at most ${LONGEST_RANGE} elements, and was asked for ${count}`);
      return Array.from({ length: count }, (_, i) => first + i * step);
    },
    hash(data?: unknown, algorithm: unknown = "SHA-256") {
      if (data === undefined) return undefined;
      const name = typeof algorithm === "string" ? ALGORITHMS[algorithm] : undefined;
      if (name === undefined)
        throw new FunctionError(`$hash takes one of ${Object.keys(ALGORITHMS).join(", ")} as its algorithm`);
      return createHash(name)
        .update(typeof data === "string" ? data : JSON.stringify(data))
        .digest("hex");
    },
    parse(text?: unknown) {
      if (text === undefined) return undefined;
      if (typeof text !== "string") throw new FunctionError("$parse takes a string");
      return JSON.parse(text) as unknown;
    },
    // AWS takes $eval away: calling it says T1006, as for any name that is no function.
    eval: undefined,
  };
}

/** A number in [0, 1) that depends on the seed alone. */
export const drawFraction = (seed: string): number => fraction(createHash("sha256").update(seed).digest());

/** A version 4 UUID that depends on the seed alone. */
export const drawUuid = (seed: string): string => uuidOf(createHash("sha256").update(seed).digest());

function uuidOf(random: Buffer): string {
  const id = Buffer.from(random.subarray(0, 16));
  id[6] = (id[6]! & 0x0f) | 0x40;
  id[8] = (id[8]! & 0x3f) | 0x80;
  const hex = id.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** AWS's seeded $random is java.util.Random's first nextDouble(): $random(42) is 0.7275636800328681. */
function javaRandom(seed: number): number {
  const mask = (1n << 48n) - 1n;
  const multiplier = 0x5deece66dn;
  let state = (BigInt(Math.trunc(seed)) ^ multiplier) & mask;
  const next = (bits: bigint): bigint => {
    state = (state * multiplier + 0xbn) & mask;
    return state >> (48n - bits);
  };
  const high = next(26n);
  return Number((high << 27n) + next(27n)) / 2 ** 53;
}

const fraction = (bytes: Buffer): number => bytes.readUIntBE(0, 6) / 2 ** 48;

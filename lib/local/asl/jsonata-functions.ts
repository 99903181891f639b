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
export function awsFunctions(source: EvaluationSource): { [name: string]: (...args: never[]) => unknown } {
  let draws = 0;
  const bytes = (): Buffer => createHash("sha256").update(`${source.seed}|${draws++}`).digest();
  const millis = source.now.getTime();

  return {
    now(picture?: string, zone?: string) {
      const form = zone !== undefined ? 2 : picture !== undefined ? 1 : 0;
      return fromMillis[form].evaluate(undefined, { millis, picture, zone });
    },
    millis: () => millis,
    uuid() {
      const id = bytes();
      id[6] = (id[6]! & 0x0f) | 0x40;
      id[8] = (id[8]! & 0x3f) | 0x80;
      const hex = id.toString("hex");
      return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join("-");
    },
    random(seed?: unknown) {
      if (seed === undefined) return fraction(bytes());
      if (typeof seed !== "number") throw new FunctionError("$random takes a number as its seed");
      return drawFraction(`seed|${seed}`);
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
    eval() {
      throw new FunctionError("$eval is not available in Step Functions; use $parse to turn a text into JSON");
    },
  };
}

/** A number in [0, 1) that depends on the seed alone. */
export const drawFraction = (seed: string): number => fraction(createHash("sha256").update(seed).digest());

const fraction = (bytes: Buffer): number => bytes.readUIntBE(0, 6) / 2 ** 48;

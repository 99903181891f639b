// What a lambda's core needs from the outside; handlers give it AWS, lib/local gives it this machine.
import type { z } from "zod";
import { VoxelburstError } from "./error.ts";
import type { GpuInstanceTypeName } from "./instance-types.ts";
import type { RungKind } from "./rung.ts";
import { parseOrThrow } from "./validate.ts";

export interface ObjectInfo {
  /** Relative to the prefix that was listed. */
  key: string;
  bytes: number;
  /** Changes with the content: S3's ETag or checksum, or sha256:<hex> of a file. */
  tag: string;
}

/** Objects by URI (s3:// or file://). Nothing is ever renamed; a put is atomic. */
export interface ObjectStore {
  /** undefined when there is no such object. */
  get(uri: string): Promise<Uint8Array | undefined>;
  exists(uri: string): Promise<boolean>;
  /** With ifAbsent, false when the object existed already and was left as it was. */
  put(uri: string, body: Uint8Array | string, options?: { ifAbsent?: boolean; contentType?: string }): Promise<boolean>;
  /**
   * In ascending key order. With byContent, an object that is put again with the same bytes has the same tag, as far as
   * the store knows them: under KMS an ETag changes with every put.
   */
  list(prefixUri: string, options?: { byContent?: boolean }): Promise<ObjectInfo[]>;
}

/** What plan is told of a rung of training; the instance's type says the rest. */
export interface TrainingRung {
  kind: RungKind;
  instanceType: GpuInstanceTypeName;
  /** Dollars an hour, where the deployment says more than the table. */
  usdPerHour?: number;
  backend: "sagemaker" | "batch";
  /** Used also by a recipe that names no backend. */
  isPreferred?: boolean;
  isForSeveralNodes?: boolean;
}

/** Where the stages will run: what plan chooses defaults and estimates by. */
export interface Machine {
  where: "local" | "aws";
  gpus: number;
  gpuName?: string;
  gpuMemoryGiB?: number;
  cpus: number;
  memoryGiB: number;
  /**
   * Whether bf16 convolutions are native (an Ampere or newer GPU; a processor with AMX or AVX-512 BF16). Where they are
   * not they are emulated, about 30 times slower than fp32: plan then makes fp32 the precision and says so.
   * @default - taken as true
   */
  bf16?: boolean;
  /** 3x3x3 convolutions (GPU or all cores), in bf16 where that is native, else in fp32; measured or from a table. */
  convGflops?: number;
  /** AWS: what a GPU stage runs on. */
  instanceType?: string;
  /** AWS: instances that one ddp training may have. @default 1 */
  nodes?: number;
  /** AWS: dollars of it, where the deployment says more than the table. */
  usdPerHour?: number;
  /** AWS: the rungs of training, in the order in which a run tries them. @default - as the other GPU stages */
  training?: readonly TrainingRung[];
  /** AWS: infer may be a SageMaker batch transform, whose input plan writes too. @default false */
  transform?: boolean;
  /** AWS: kinds of rungs that every GPU stage has. @default - every kind */
  rungs?: readonly RungKind[];
  /** AWS: rungs of the longest ladder of a stage. @default - one of each kind */
  mostRungs?: number;
  engines: readonly string[];
}

export interface Clock {
  now(): Date;
}

/** @throws VoxelburstError ObjectMissing, or the given code when the document does not fit its schema */
export async function readJson<T extends z.ZodType>(
  store: ObjectStore,
  uri: string,
  schema: T,
  code = "DocumentInvalid",
): Promise<z.infer<T>> {
  const bytes = await store.get(uri);
  const name = uri.split("/").at(-1) ?? uri;
  if (!bytes)
    throw new VoxelburstError(
      "ObjectMissing",
      `${name} does not exist where the run expects it.`,
      "Check that the stage that writes it has run, and resume the run.",
      { got: uri },
    );
  return parseOrThrow(schema, parseJson(bytes, name, code), name, code);
}

/** @throws VoxelburstError with the given code when the text is not JSON */
export function parseJson(bytes: Uint8Array, name: string, code: string): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new VoxelburstError(
      code,
      `${name} is not JSON: ${(cause as Error).message}.`,
      `Correct ${name} and start again.`,
      { field: name, cause },
    );
  }
}

/** Lines of a JSON Lines object; empty when there is no such object. */
export async function readJsonLines<T extends z.ZodType>(
  store: ObjectStore,
  uri: string,
  schema: T,
): Promise<z.infer<T>[]> {
  const bytes = await store.get(uri);
  if (!bytes) return [];
  return new TextDecoder()
    .decode(bytes)
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => parseOrThrow(schema, JSON.parse(line), uri.split("/").at(-1) ?? uri, "DocumentInvalid"));
}

export const toJsonLines = (values: readonly unknown[]): string =>
  values.map((value) => `${JSON.stringify(value)}\n`).join("");

/** @returns the URI of a key below a root that ends in a slash */
export const under = (rootUri: string, key: string): string => `${rootUri}${key}`;

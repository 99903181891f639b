// What this machine is: processors, memory, GPUs, and what its Python environment can do with them.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, totalmem } from "node:os";
import path from "node:path";
import * as z from "zod";
import { hashOf, type Machine, VoxelburstError } from "../contracts/index.ts";
import { checkout, type Home } from "./home.ts";

const machineScript = path.join(checkout, "containers", "src", "voxelburst", "machine.py");

/** What `python -m voxelburst machine` describes. */
const description = z.object({
  gpus: z.int().min(0),
  gpuName: z.string().optional(),
  gpuMemoryGiB: z.number().optional(),
  cpuName: z.string().default("unknown processor"),
  cpus: z.int().min(1),
  memoryGiB: z.number(),
  bf16: z.boolean(),
  convGflops: z.number(),
  engines: z.array(z.string()),
  /** Engine to the sentence that says what it lacks. */
  missing: z.record(z.string(), z.string()).default({}),
  versions: z.record(z.string(), z.string()).default({}),
});
/** What it prints where it cannot. */
const printedError = z.looseObject({
  type: z.literal("error"),
  code: z.string(),
  message: z.string(),
  remedy: z.string(),
  got: z.string().optional(),
});
export type MachineDescription = z.infer<typeof description>;

/** How long a speed counts that was measured beside other work. */
const BUSY_MS = 3_600_000;
const SET_UP = "Run `npm run setup` in the checkout.";

/** @throws VoxelburstError PythonEnvironmentMissing */
export function findPython(root = checkout): string {
  const python = path.join(root, ".venv", "bin", "python");
  if (existsSync(python)) return python;
  throw new VoxelburstError(
    "PythonEnvironmentMissing",
    "The Python environment .venv is not there, or its interpreter is gone.",
    SET_UP,
    { got: "no .venv/bin/python" },
  );
}

export interface NvidiaGpu {
  name: string;
  memoryMiB: number;
  driver: string;
}

/** GPUs that the driver sees; none where there is no nvidia-smi. */
export function nvidiaGpus(): NvidiaGpu[] {
  const query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"];
  const answer = spawnSync("nvidia-smi", query, { encoding: "utf8", timeout: 20_000 });
  if (answer.status !== 0) return [];
  return answer.stdout
    .trim()
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [name = "", memory = "0", driver = ""] = line.split(",").map((part) => part.trim());
      return { name, memoryMiB: Number(memory), driver };
    });
}

/** In MiB, of this machine or of the container that limits it. */
export function memoryMiB(): number {
  const limit = process.constrainedMemory();
  return Math.floor(Math.min(totalmem(), limit > 0 ? limit : Number.POSITIVE_INFINITY) / 2 ** 20);
}

/**
 * What the environment answers; asked once, and again when its packages, the GPUs or the processors change.
 *
 * @throws VoxelburstError PythonPackageMissing, naming the packages, or PythonEnvironmentBroken
 */
export async function probe(home: Home, python: string): Promise<MachineDescription> {
  const file = path.join(home.cache, "machine.json");
  const key = hashOf({
    packages: packagesState(python),
    script: readFileSync(machineScript, "utf8"),
    processor: cpus()[0]?.model,
    cpus: availableParallelism(),
    gpus: nvidiaGpus(),
    visible: process.env.CUDA_VISIBLE_DEVICES,
  });
  const kept = readKept(file);
  if (kept?.key === key && Date.now() < (kept.until ?? Number.POSITIVE_INFINITY)) return kept.answer;
  // A machine that is at work looks slower than it is: ask it again later.
  const isBusy = loadavg()[0]! > availableParallelism() / 2;
  const answer = await ask(python);
  mkdirSync(home.cache, { recursive: true });
  writeFileSync(
    `${file}.${process.pid}`,
    JSON.stringify({ key, answer, ...(isBusy ? { until: Date.now() + BUSY_MS } : {}) }, null, 1),
  );
  renameSync(`${file}.${process.pid}`, file);
  return answer;
}

interface Kept {
  key: string;
  answer: MachineDescription;
  /** Milliseconds since 1970 until when it holds; for ever where it is absent. */
  until?: number;
}

function readKept(file: string): Kept | undefined {
  try {
    const kept = JSON.parse(readFileSync(file, "utf8")) as Omit<Kept, "answer"> & { answer: unknown };
    const answer = description.safeParse(kept.answer);
    return answer.success ? { ...kept, answer: answer.data } : undefined;
  } catch {
    return undefined; // not asked yet, or damaged: ask again
  }
}

/** Installing or removing a package touches its folder. */
function packagesState(python: string): unknown {
  const lib = path.resolve(path.dirname(python), "..", "lib");
  if (!existsSync(lib)) return python;
  return readdirSync(lib).map((name) => {
    const packages = path.join(lib, name, "site-packages");
    return existsSync(packages) ? [name, statSync(packages).mtimeMs] : name;
  });
}

async function ask(python: string): Promise<MachineDescription> {
  const child = spawn(python, ["-m", "voxelburst", "machine"], { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  const last = parseOrUndefined(out.trim().split("\n").at(-1) ?? "");
  const parsed = code === 0 ? description.safeParse(last) : undefined;
  if (parsed?.success) return parsed.data;
  const error = printedError.safeParse(last).data;
  if (error?.code === "PythonPackageMissing")
    throw new VoxelburstError(error.code, error.message, error.remedy, { got: error.got });
  throw new VoxelburstError(
    "PythonEnvironmentBroken",
    `The Python environment cannot be used: ${error?.message ?? (err.trim().split("\n").at(-1) || `exit code ${code}`)}.`,
    "Remove .venv and run `npm run setup` in the checkout.",
  );
}

function parseOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The Machine of the contracts: what plan chooses defaults and estimates by. */
export const machineOf = ({ missing: _missing, ...described }: MachineDescription): Machine => ({
  where: "local",
  ...described,
});

/** Ids as CUDA_VISIBLE_DEVICES takes them, of the GPUs that this process may use. */
export function gpuIds(gpus: number): string[] {
  const visible = process.env.CUDA_VISIBLE_DEVICES?.split(",").filter((id) => id !== "");
  return (visible ?? Array.from({ length: gpus }, (_, index) => String(index))).slice(0, gpus);
}

// voxelburst doctor: whether this machine can run the workflow, and what to do where it cannot.
import { existsSync, statfsSync } from "node:fs";
import path from "node:path";
import type { Check } from "../../aws/check.ts";
import { VoxelburstError } from "../../contracts/index.ts";
import { memoryMiB, nvidiaGpus } from "../../local/machine.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { EXIT } from "../exit-codes.ts";
import { bytes, significant } from "../format.ts";
import { type Emit, note } from "../messages.ts";

/** What Hippocampus and the demo take with their arrays, checkpoints and masks, with room to spare. */
const DISK_GIB = 5;
/** A width of 16 at nnU-Net's smallest patches. */
const MEMORY_GIB = 4;

export async function doctor({ workbench, emit }: CommandContext): Promise<CommandResult> {
  const checks: Check[] = [node(), disk(workbench.home.folder), memory()];
  try {
    const machine = await workbench.describeMachine();
    checks.push(
      { name: "python", state: "ok", found: ".venv with every package" },
      gpu(machine.gpus, machine.gpuName),
      { name: "engines", state: "ok", found: machine.engines.join(", ") },
      ...Object.entries(machine.missing).map(
        ([name, lacks]): Check => ({ name, state: "warning", found: `not available: ${lacks}` }),
      ),
      {
        name: "speed",
        state: "ok",
        found: `${significant(machine.convGflops)} GFLOP/s of 3x3x3 convolutions in ${machine.bf16 ? "bf16" : "fp32"}`,
      },
    );
  } catch (error) {
    if (!(error instanceof VoxelburstError)) throw error;
    checks.push({ name: "python", state: "failed", found: error.message, remedy: error.remedy });
  }
  return showChecks(checks, emit);
}

/** The table of checks, and what to do about those that are not good. */
export function showChecks(checks: readonly Check[], emit: Emit): CommandResult {
  const mark = { ok: "ok", warning: "warning", failed: "FAILED" };
  emit({
    kind: "table",
    code: "Checked",
    table: {
      columns: [{ title: "check" }, { title: "" }, { title: "found" }],
      rows: checks.map((check) => [check.name, mark[check.state], check.found]),
    },
  });
  for (const { name, remedy } of checks) if (remedy) emit(note("Remedy", `${name}: ${remedy}`));
  const hasFailed = checks.some((check) => check.state === "failed");
  return { exitCode: hasFailed ? EXIT.runFailed : EXIT.done, json: { status: hasFailed ? "failed" : "ok", checks } };
}

function node(): Check {
  const major = Number(process.versions.node.split(".")[0]);
  return major >= 24
    ? { name: "node", state: "ok", found: process.versions.node }
    : {
        name: "node",
        state: "failed",
        found: process.versions.node,
        remedy: "Use `npx voxelburst`: it runs on Node 24.",
      };
}

function disk(home: string): Check {
  const at = nearestFolder(home);
  const { bavail, bsize } = statfsSync(at);
  const free = bavail * bsize;
  const found = `${bytes(free)} free for .voxelburst`;
  if (free >= DISK_GIB * 2 ** 30) return { name: "disk", state: "ok", found };
  return {
    name: "disk",
    state: "warning",
    found,
    remedy: `A run of a small dataset takes up to ${DISK_GIB} GiB: free some space, or set VOXELBURST_HOME.`,
  };
}

/** A disk is asked through a folder that exists. */
function nearestFolder(folder: string): string {
  let at = folder;
  while (!existsSync(at)) at = path.dirname(at);
  return at;
}

function memory(): Check {
  const gib = memoryMiB() / 1024;
  const found = `${significant(gib)} GiB`;
  if (gib >= MEMORY_GIB) return { name: "memory", state: "ok", found };
  return {
    name: "memory",
    state: "warning",
    found,
    remedy: "Set model.width to 16 and plan.batch to 1 in the recipe.",
  };
}

function gpu(usable: number, name: string | undefined): Check {
  const seen = nvidiaGpus();
  if (usable > 0)
    return { name: "gpu", state: "ok", found: `${usable} x ${name}, driver ${seen[0]?.driver ?? "unknown"}` };
  if (seen.length === 0) return { name: "gpu", state: "ok", found: "none: the stages run on the processor" };
  return {
    name: "gpu",
    state: "warning",
    found: `${seen.length} x ${seen[0]!.name} with driver ${seen[0]!.driver}, which PyTorch cannot use`,
    remedy:
      "PyTorch here is built for CUDA 13: install driver 580 or newer, or a PyTorch for this driver (VOXELBURST_TORCH_INDEX).",
  };
}

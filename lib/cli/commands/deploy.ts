// voxelburst deploy | diff | destroy: the CDK's own commands on all stacks, and what would still bill.
import { spawn } from "node:child_process";
import path from "node:path";
import { VoxelburstError } from "../../contracts/index.ts";
import { checkout } from "../../local/home.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { readDeployment } from "../deployment-config.ts";
import { EXIT } from "../exit-codes.ts";
import { note } from "../messages.ts";

export interface DeployOptions {
  /** A file; default: `voxelburst` in cdk.json. */
  config?: string;
  /** Ask nothing. */
  yes?: boolean;
  /** destroy: only list what would still bill. */
  verify?: boolean;
}

/** The CDK of this checkout: the one on a machine's path may not read our assembly. */
const CDK = path.join(checkout, "node_modules", ".bin", "cdk");

export async function deploy(context: CommandContext, options: DeployOptions): Promise<CommandResult> {
  await cdk(context, options, ["deploy", "--all", ...(options.yes ? ["--require-approval", "never"] : [])]);
  context.emit(note("Deployed", "deployed; `voxelburst doctor --on aws` checks the account"));
  return { exitCode: EXIT.done, json: { status: "deployed" } };
}

export async function diff(context: CommandContext, options: DeployOptions): Promise<CommandResult> {
  await cdk(context, options, ["diff"]);
  return { exitCode: EXIT.done, json: { status: "compared" } };
}

export async function destroy(context: CommandContext, options: DeployOptions): Promise<CommandResult> {
  const { listBills } = await import("./aws/bills.ts");
  if (options.verify) return listBills(context);
  await cdk(context, options, ["destroy", "--all", ...(options.yes ? ["--force"] : [])]);
  return listBills(context);
}

/** @throws VoxelburstError DeploymentInvalid before the CDK starts, CdkFailed with its exit code after it */
async function cdk({ signal }: CommandContext, { config }: DeployOptions, args: readonly string[]): Promise<void> {
  readDeployment(config);
  const context = config ? ["-c", `config=${path.resolve(config)}`] : [];
  // It asks and draws on the terminal itself. Its own stdout goes to stderr: ours has one JSON object.
  const child = spawn(CDK, [...args, ...context], { cwd: checkout, stdio: ["inherit", 2, 2] });
  const stop = () => child.kill("SIGINT");
  signal.addEventListener("abort", stop, { once: true });
  const code = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status) => resolve(status ?? 1));
  }).finally(() => signal.removeEventListener("abort", stop));
  if (code !== 0)
    throw new VoxelburstError(
      "CdkFailed",
      `cdk ${args[0]} ended with ${code}.`,
      "Its own lines above say why; `voxelburst doctor --on aws` checks identity, quotas and capacity.",
      { got: String(code) },
    );
}

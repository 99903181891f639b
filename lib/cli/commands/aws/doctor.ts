// voxelburst doctor --on aws: whether this account and region can run the deployment, and what to do where they cannot.
import { examineAccount } from "../../../aws/doctor.ts";
import type { CommandContext, CommandResult } from "../../command.ts";
import { readDeployment } from "../../deployment-config.ts";
import { showChecks } from "../doctor.ts";

export async function doctor({ emit }: CommandContext, options: { config?: string }): Promise<CommandResult> {
  return showChecks(await examineAccount(readDeployment(options.config)), emit);
}

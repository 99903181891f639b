// start-run's Executions on Step Functions.
import {
  DescribeExecutionCommand,
  ExecutionAlreadyExists,
  ExecutionDoesNotExist,
  type ExecutionStatus,
  SFNClient,
  StartExecutionCommand,
} from "@aws-sdk/client-sfn";
import type { RunRequest } from "../../lib/contracts/run-request.ts";
import type { Executions, RunState } from "../start-run/core.ts";

export class StepFunctionsExecutions implements Executions {
  private readonly stateMachineArn: string;
  private readonly client: SFNClient;

  constructor(stateMachineArn: string, client: SFNClient = new SFNClient({})) {
    this.stateMachineArn = stateMachineArn;
    this.client = client;
  }

  async state(runId: string): Promise<RunState> {
    const status = await this.statusOf(runId);
    if (status === undefined) return "absent";
    if (status === "SUCCEEDED") return "succeeded";
    return status === "RUNNING" || status === "PENDING_REDRIVE" ? "open" : "failed";
  }

  async start(request: RunRequest): Promise<void> {
    try {
      await this.client.send(
        new StartExecutionCommand({
          stateMachineArn: this.stateMachineArn,
          name: request.runId,
          input: JSON.stringify(request),
        }),
      );
    } catch (error) {
      // The same name with the same input, closed since: another delivery of the event started it.
      if (!(error instanceof ExecutionAlreadyExists)) throw error;
    }
  }

  private async statusOf(runId: string): Promise<ExecutionStatus | undefined> {
    try {
      const described = await this.client.send(
        new DescribeExecutionCommand({ executionArn: this.executionArn(runId) }),
      );
      return described.status;
    } catch (error) {
      if (error instanceof ExecutionDoesNotExist) return undefined;
      throw error;
    }
  }

  private executionArn(runId: string): string {
    return `${this.stateMachineArn.replace(":stateMachine:", ":execution:")}:${runId}`;
  }
}

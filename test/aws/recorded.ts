// A server that gives recorded answers by the action's name, for services whose part that we ask moto does not have:
// executions of JSONata machines, their history, the logs of jobs. Shapes are those of the SDK's models.
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

type Answer = object | ((input: Record<string, never>) => object);

export class RecordedAws {
  readonly calls: { action: string; input: Record<string, unknown> }[] = [];
  readonly answers: Record<string, Answer> = {};
  private readonly server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const input = JSON.parse(Buffer.concat(chunks).toString() || "{}");
    const action = actionOf(request);
    this.calls.push({ action, input });
    const answer = this.answers[action];
    const body = typeof answer === "function" ? answer(input as never) : answer;
    const type = (body as { __type?: string } | undefined)?.__type;
    response
      .writeHead(body === undefined || type ? 400 : 200, { "Content-Type": "application/x-amz-json-1.1" })
      .end(JSON.stringify(body ?? { __type: "NotRecorded", message: `no answer to ${action} was recorded` }));
  });

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  /** The inputs of the calls of one action. */
  inputsOf(action: string): Record<string, unknown>[] {
    return this.calls.filter((call) => call.action === action).map(({ input }) => input);
  }
}

/** AWS's JSON protocols name the action in a header, REST ones by path: /v1/describejobs. */
function actionOf({ headers, url }: IncomingMessage): string {
  const target = headers["x-amz-target"];
  if (target) return String(target).split(".").at(-1)!;
  return url!.split("?")[0]!.split("/").at(-1)!;
}

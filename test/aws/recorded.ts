// A server that gives recorded answers by the action's name, for services whose part that we ask moto does not have:
// executions of JSONata machines, their history, the logs of jobs. Shapes are those of the SDK's models.
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, vi } from "vitest";
import { motoEnvironment } from "./moto.ts";

/** An object for AWS's JSON protocols, a text for its XML ones. */
type Answer = object | string | ((input: Record<string, never>) => object | string | Promise<object | string>);

export class RecordedAws {
  readonly calls: { action: string; input: Record<string, unknown> }[] = [];
  readonly answers: Record<string, Answer> = {};
  private readonly server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const isForm = String(request.headers["content-type"]).startsWith("application/x-www-form-urlencoded");
    const input = isForm ? Object.fromEntries(new URLSearchParams(text)) : JSON.parse(text || "{}");
    const action = isForm ? input.Action : actionOf(request);
    this.calls.push({ action, input });
    const answer = this.answers[action];
    const body = typeof answer === "function" ? await answer(input as never) : answer;
    if (typeof body === "string") {
      response.writeHead(200, { "Content-Type": "text/xml" }).end(body);
      return;
    }
    const { __type: code, message = "" } = (body ?? { __type: "NotRecorded", message: action }) as Record<
      string,
      string
    >;
    if (code && isForm)
      response
        .writeHead(400, { "Content-Type": "text/xml" })
        .end(
          `<ErrorResponse><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error></ErrorResponse>`,
        );
    else
      response
        .writeHead(code ? 400 : 200, { "Content-Type": "application/x-amz-json-1.1" })
        .end(JSON.stringify(body ?? { __type: code, message }));
  });

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return this.url;
  }

  get url(): string {
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

/** One for each test around, which the SDK's default clients reach: the present one's. */
export function useRecordedAws(): () => RecordedAws {
  let aws: RecordedAws;
  beforeEach(async () => {
    aws = new RecordedAws();
    for (const [name, value] of Object.entries(motoEnvironment(await aws.start()))) vi.stubEnv(name, value);
  });
  afterEach(() => {
    aws.stop();
    vi.unstubAllEnvs();
  });
  return () => aws;
}

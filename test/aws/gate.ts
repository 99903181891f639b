// A door in front of moto: it sees every request on the wire, whoever sends it, and may refuse or lose one.
import { createServer, request as forward, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export interface Seen {
  method: string;
  /** Path and query, as sent. */
  url: string;
  headers: Record<string, string>;
  body: Buffer;
}

/** What becomes of a request: forwarded, answered here, or lost together with its connection. */
export type Verdict = "forward" | "drop" | { status: number; headers?: Record<string, string>; body: string };

export class Gate {
  private readonly server: Server;

  /**
   * @param judge - is told of every request, before anything is done about it
   * @param after - is told of the status of what was forwarded
   */
  constructor(
    targetUrl: string,
    judge: (seen: Seen) => Verdict | Promise<Verdict>,
    after: (seen: Seen, status: number) => void = () => undefined,
  ) {
    const target = new URL(targetUrl);
    this.server = createServer(async (incoming, response) => {
      const body = await bodyOf(incoming);
      const seen: Seen = {
        method: incoming.method!,
        url: incoming.url!,
        headers: incoming.headers as Record<string, string>,
        body,
      };
      const verdict = await judge(seen);
      if (verdict === "drop") return void incoming.socket.destroy();
      if (verdict !== "forward") return void response.writeHead(verdict.status, verdict.headers).end(verdict.body);
      const { hostname, port } = target;
      const { method, url: path, headers } = seen;
      const outgoing = forward({ hostname, port, method, path, headers, agent: false }, (answer) => {
        after(seen, answer.statusCode!);
        response.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(response);
      });
      outgoing.on("error", () => response.destroy());
      outgoing.end(body);
    });
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

async function bodyOf(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

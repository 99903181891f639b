// As much of S3's protocol as an ObjectStore speaks, on loopback: so that the SDK's own requests and answers are tested.
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

const escaped = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

/** The SDK sends a body in aws-chunked form when it adds a checksum: length, data, trailer. */
function decodeChunks(body: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const end = body.indexOf("\r\n", at);
    const size = Number.parseInt(body.toString("latin1", at, end), 16);
    if (!size) return Buffer.concat(parts);
    parts.push(body.subarray(end + 2, end + 2 + size));
    at = end + 2 + size + 2;
  }
}

export class S3Server {
  readonly objects = new Map<string, { body: Buffer; contentType: string | undefined; etag?: string }>();
  /** As under SSE-KMS: every put has an ETag of its own. */
  isEncrypted = false;
  /** The header of the checksum that S3 keeps of what is put, and its value. @default - none is kept */
  checksumOf: ((body: Buffer) => [name: string, value: string]) | undefined;
  pageSize = 2;
  refusesHeads = false;
  private puts = 0;
  /** Answers of conditional puts to give before the server decides on its own. */
  readonly conflicts: number[] = [];
  /** Requests, as "METHOD path?query". */
  readonly requests: string[] = [];
  private readonly server = createServer((request, response) => void this.answer(request, response));

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://s3");
    this.requests.push(`${request.method} ${url.pathname}${url.search}`);
    const name = decodeURIComponent(url.pathname.slice(1));
    if (url.searchParams.get("list-type") === "2") return this.list(name.replace(/\/$/, ""), url, response);
    const object = this.objects.get(name);
    if (request.method === "PUT") return this.put(name, request, response);
    if (request.method === "HEAD" && this.refusesHeads) return this.error(response, 503, "SlowDown");
    if (!object) return this.error(response, 404, "NoSuchKey");
    const [checksum, value] = this.checksumOf?.(object.body) ?? [];
    const wanted = checksum && request.headers["x-amz-checksum-mode"] === "ENABLED" ? { [checksum]: value } : {};
    response.writeHead(200, {
      ETag: object.etag ?? etagOf(object.body),
      "Content-Length": object.body.length,
      ...wanted,
    });
    response.end(request.method === "HEAD" ? undefined : object.body);
  }

  private async put(name: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const raw = Buffer.concat(chunks);
    const body = /aws-chunked/.test(String(request.headers["content-encoding"])) ? decodeChunks(raw) : raw;
    const conflict = request.headers["if-none-match"] === "*" ? this.conflicts.shift() : undefined;
    if (conflict) return this.error(response, conflict, "ConditionalRequestConflict");
    if (request.headers["if-none-match"] === "*" && this.objects.has(name))
      return this.error(response, 412, "PreconditionFailed");
    this.puts += 1;
    const etag = this.isEncrypted ? `"${String(this.puts).padStart(32, "0")}"` : etagOf(body);
    this.objects.set(name, { body, contentType: request.headers["content-type"], etag });
    response.writeHead(200, { ETag: etag }).end();
  }

  private list(bucket: string, url: URL, response: ServerResponse): void {
    const prefix = `${bucket}/${url.searchParams.get("prefix") ?? ""}`;
    const after = url.searchParams.get("continuation-token") ?? "";
    const names = [...this.objects.keys()].filter((name) => name.startsWith(prefix) && name > after).sort();
    const page = names.slice(0, this.pageSize);
    const more = names.length > this.pageSize;
    const contents = page.map((name) => {
      const { body, etag = etagOf(body) } = this.objects.get(name)!;
      const algorithm = this.checksumOf?.(body)[0].slice("x-amz-checksum-".length).toUpperCase();
      const checksum = algorithm ? `<ChecksumAlgorithm>${algorithm}</ChecksumAlgorithm>` : "";
      return `<Contents><Key>${escaped(name.slice(bucket.length + 1))}</Key><Size>${body.length}</Size><ETag>${escaped(etag)}</ETag>${checksum}</Contents>`;
    });
    const next = more ? `<NextContinuationToken>${escaped(page.at(-1)!)}</NextContinuationToken>` : "";
    response.writeHead(200, { "Content-Type": "application/xml" });
    response.end(`<ListBucketResult><IsTruncated>${more}</IsTruncated>${next}${contents.join("")}</ListBucketResult>`);
  }

  private error(response: ServerResponse, status: number, code: string): void {
    response.writeHead(status, { "Content-Type": "application/xml" });
    response.end(`<Error><Code>${code}</Code><Message>${code}</Message></Error>`);
  }
}

const etagOf = (body: Buffer) => `"${createHash("md5").update(body).digest("hex")}"`;

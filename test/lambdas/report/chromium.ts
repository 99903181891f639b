// Drives a headless Chromium over its debugging pipe: no port, no library. What it loads, requests and complains of
// is recorded. Used where a Chromium exists; the tests skip by name where there is none.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Readable, Writable } from "node:stream";

/** Path of the first Chromium on this machine; undefined when there is none. */
export const chromiumPath = ["chromium", "chromium-browser", "google-chrome"]
  .map((name) => spawnSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).stdout.trim())
  .find((found) => found !== "");

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--hide-scrollbars",
  "--remote-debugging-pipe",
];

type Params = Record<string, unknown>;
interface Message {
  id?: number;
  method?: string;
  params?: Params;
  result?: Params;
  error?: { message: string };
}

export interface View {
  widthPx: number;
  heightPx?: number;
  scheme?: "light" | "dark";
}

export class Chromium {
  /** URLs asked for, the page's own and data: URIs left out. */
  readonly requests: string[] = [];
  /** Errors and warnings of the console and of the browser's log. */
  readonly complaints: string[] = [];
  readonly #process: ChildProcess;
  readonly #profile: string;
  readonly #waiting = new Map<number, { resolve: (result: Params) => void; reject: (error: Error) => void }>();
  #listeners: ((message: Message) => void)[] = [];
  #next = 1;
  #session: string | undefined;
  #page = "";

  private constructor(executable: string) {
    this.#profile = mkdtempSync(path.join(tmpdir(), "chromium-"));
    this.#process = spawn(executable, [...FLAGS, `--user-data-dir=${this.#profile}`, "about:blank"], {
      stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    });
    let rest = "";
    (this.#process.stdio[4] as Readable).setEncoding("utf8").on("data", (text: string) => {
      const parts = (rest + text).split("\0");
      rest = parts.pop() ?? "";
      for (const part of parts) this.#receive(JSON.parse(part) as Message);
    });
  }

  static async start(executable: string): Promise<Chromium> {
    const browser = new Chromium(executable);
    const { targetId } = (await browser.send("Target.createTarget", { url: "about:blank" })) as { targetId: string };
    const { sessionId } = (await browser.send("Target.attachToTarget", { targetId, flatten: true })) as {
      sessionId: string;
    };
    browser.#session = sessionId;
    for (const domain of ["Page", "Network", "Runtime", "Log"]) await browser.send(`${domain}.enable`);
    return browser;
  }

  #receive(message: Message): void {
    if (message.id !== undefined) {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error) waiting?.reject(new Error(message.error.message));
      else waiting?.resolve(message.result ?? {});
      return;
    }
    const params = message.params as never as {
      request: { url: string };
      entry: { level: string; text: string };
      type: string;
      args: { value?: unknown }[];
      exceptionDetails: { text: string };
    };
    if (message.method === "Network.requestWillBeSent") {
      const { url } = params.request;
      if (url !== this.#page && !url.startsWith("data:") && !url.startsWith(`${this.#page}#`)) this.requests.push(url);
    }
    if (message.method === "Log.entryAdded") this.complaints.push(`${params.entry.level}: ${params.entry.text}`);
    if (message.method === "Runtime.consoleAPICalled")
      this.complaints.push(`console.${params.type}: ${params.args.map((arg) => String(arg.value)).join(" ")}`);
    if (message.method === "Runtime.exceptionThrown")
      this.complaints.push(`exception: ${params.exceptionDetails.text}`);
    for (const listener of this.#listeners) listener(message);
  }

  send(method: string, params: Params = {}): Promise<Params> {
    const id = this.#next++;
    const message = JSON.stringify({ id, method, params, ...(this.#session && { sessionId: this.#session }) });
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      (this.#process.stdio[3] as Writable).write(`${message}\0`);
    });
  }

  /** Opens a file:// page in a view and waits until it has loaded. */
  async open(url: string, { widthPx, heightPx = 900, scheme = "light" }: View): Promise<void> {
    this.#page = url;
    await this.send("Emulation.setDeviceMetricsOverride", {
      width: widthPx,
      height: heightPx,
      deviceScaleFactor: 1,
      mobile: widthPx < 600,
    });
    await this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
    const loaded = new Promise<void>((resolve) => {
      const listener = (message: Message) => {
        if (message.method !== "Page.loadEventFired") return;
        this.#listeners = this.#listeners.filter((other) => other !== listener);
        resolve();
      };
      this.#listeners.push(listener);
    });
    await this.send("Page.navigate", { url });
    await loaded;
  }

  /** The value of an expression in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = (await this.send("Runtime.evaluate", {
      expression,
      returnByValue: true,
      awaitPromise: true,
    })) as { result: { value: T }; exceptionDetails?: { text: string } };
    if (exceptionDetails) throw new Error(exceptionDetails.text);
    return result.value;
  }

  /** A PNG of the whole page, or of the part between two heights. */
  async screenshot(from = 0, to?: number): Promise<Buffer> {
    const { cssContentSize } = (await this.send("Page.getLayoutMetrics")) as {
      cssContentSize: { width: number; height: number };
    };
    const end = Math.min(to ?? cssContentSize.height, cssContentSize.height);
    const { data } = (await this.send("Page.captureScreenshot", {
      format: "png",
      captureBeyondViewport: true,
      clip: { x: 0, y: from, width: cssContentSize.width, height: Math.max(1, end - from), scale: 1 },
    })) as { data: string };
    return Buffer.from(data, "base64");
  }

  /** The page as a PDF, as a printer would get it. */
  async pdf(): Promise<Buffer> {
    const { data } = (await this.send("Page.printToPDF", { preferCSSPageSize: true })) as { data: string };
    return Buffer.from(data, "base64");
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#session = undefined;
    await this.send("Browser.close").catch(() => this.#process.kill());
    await ended;
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

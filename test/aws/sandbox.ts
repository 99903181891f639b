// Lambda's sandboxes for tests: the deployed bundle in a process of its own, which can die in the middle of a call.
import { type ChildProcess, fork } from "node:child_process";
import path from "node:path";
import { bundleLambda, type LambdaVerb } from "../../lib/cloud/lambda-bundle.ts";

const script = path.resolve(import.meta.dirname, "sandbox-process.ts");

export class SandboxDied extends Error {
  override readonly name = "SandboxDied";
}

export interface SandboxOptions {
  verb: LambdaVerb;
  /** Where the bundle is put. */
  folder: string;
  environment: Record<string, string>;
  /** What the handler is told that it has left: Powertools takes a call that is older for dead. */
  remainingMs: number;
}

/** The bundle's path, made once for any number of sandboxes. */
export async function bundleFor({ verb, folder }: SandboxOptions): Promise<string> {
  const file = path.join(folder, verb, "index.mjs");
  await bundleLambda(verb, file);
  return file;
}

export class Sandbox {
  private readonly options: SandboxOptions;
  private readonly bundle: string;
  private child: ChildProcess | undefined;
  private calls = 0;

  constructor(options: SandboxOptions, bundle: string) {
    this.options = options;
    this.bundle = bundle;
  }

  get pid(): number | undefined {
    return this.child?.pid;
  }

  /** @throws SandboxDied when the process ends before it has answered, or what the handler threw */
  async invoke(event: unknown): Promise<unknown> {
    const child = await this.ready();
    const id = ++this.calls;
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        child.off("message", onMessage);
        child.off("exit", onExit);
        act();
      };
      const onExit = () => settle(() => reject(new SandboxDied("the sandbox died")));
      const onMessage = (message: { id?: number; result?: unknown; error?: { name: string; message: string } }) => {
        if (message.id !== id) return;
        const { error, result } = message;
        settle(() => (error ? reject(Object.assign(new Error(error.message), { name: error.name })) : resolve(result)));
      };
      child.on("message", onMessage);
      child.on("exit", onExit);
      child.send({ id, event, remainingMs: this.options.remainingMs });
    });
  }

  stop(): void {
    this.child?.kill("SIGKILL");
  }

  private async ready(): Promise<ChildProcess> {
    if (this.child && this.child.exitCode === null && this.child.signalCode === null) return this.child;
    const { environment, verb } = this.options;
    const child = fork(script, [this.bundle, verb], {
      env: { PATH: process.env.PATH ?? "", POWERTOOLS_LOG_LEVEL: "SILENT", ...environment },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.child = child;
    await new Promise<void>((resolve, reject) => {
      child.once("message", () => resolve());
      child.once("exit", (code) => reject(new Error(`the sandbox ended with ${code} before it was ready`)));
    });
    return child;
  }
}

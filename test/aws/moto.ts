// moto (requirements.lock) as AWS on loopback: for what it knows of a service, the SDK's calls are answered for real.
import { spawn } from "node:child_process";
import path from "node:path";
import { createInterface } from "node:readline";
import { afterAll, afterEach, beforeAll, beforeEach, vi } from "vitest";

const python = path.resolve(import.meta.dirname, "../../.venv/bin/python");
const script = path.resolve(import.meta.dirname, "moto_server.py");

export interface Moto {
  url: string;
  stop(): void;
}

/** Ready when it has printed its port; its import takes seconds. */
export async function startMoto(): Promise<Moto> {
  // Its input stays open as long as this process lives: it ends with it.
  const child = spawn(python, [script], { stdio: ["pipe", "pipe", "inherit"] });
  const port = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).once("line", resolve);
    child.once("exit", (code) => reject(new Error(`moto ended with ${code} before it was ready`)));
  });
  return { url: `http://127.0.0.1:${port}`, stop: () => child.kill("SIGKILL") };
}

/** What the SDK's default clients need to reach it. */
export const motoEnvironment = (url: string): Record<string, string> => ({
  AWS_ENDPOINT_URL: url,
  AWS_REGION: "us-east-1",
  AWS_ACCESS_KEY_ID: "AKIAIOSFODNN7EXAMPLE",
  AWS_SECRET_ACCESS_KEY: "secret",
  AWS_EC2_METADATA_DISABLED: "true",
});

/** One for all tests around, which the SDK's default clients reach. */
export function useMoto(): void {
  let moto: Moto;
  beforeAll(async () => {
    moto = await startMoto();
  }, 90_000);
  afterAll(() => moto?.stop());
  beforeEach(() => {
    for (const [name, value] of Object.entries(motoEnvironment(moto.url))) vi.stubEnv(name, value);
  });
  afterEach(() => vi.unstubAllEnvs());
}

// How long a handler takes from nothing to its first answer: `node lib/cloud/cold-start.ts`. Bundled as deployed, each
// time in a new process of this Node, which should be the functions' own (24). The input is one that the handler refuses
// when it has read it, so that no network is in the figure: start of the process, import of the bundle, clients, schema.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { bundleLambda, LAMBDAS, type LambdaVerb } from "./lambda-bundle.ts";

const REPEATS = 7;

const ENVIRONMENT = {
  AWS_REGION: "us-east-1",
  POWERTOOLS_LOG_LEVEL: "SILENT",
  POWERTOOLS_METRICS_DISABLED: "true",
  // Nobody listens there: what is asked of AWS fails at once.
  AWS_ENDPOINT_URL: "http://127.0.0.1:9",
  AWS_ACCESS_KEY_ID: "none",
  AWS_SECRET_ACCESS_KEY: "none",
  AWS_MAX_ATTEMPTS: "1",
  VOXELBURST_MACHINE: '{"where":"aws","gpus":1,"cpus":16,"memoryGiB":256,"engines":["torch"]}',
  VOXELBURST_STATE_MACHINE_ARN: "arn:aws:states:us-east-1:123456789012:stateMachine:Voxelburst",
  VOXELBURST_TOPIC_ARN: "arn:aws:sns:us-east-1:123456789012:topic",
  VOXELBURST_VERSION: "0.0.0",
  VOXELBURST_PSEUDONYM_KEY_ARN: "arn:aws:secretsmanager:us-east-1:123456789012:secret:key",
  VOXELBURST_IDEMPOTENCY_TABLE: "deliveries",
  VOXELBURST_LEDGER: '{"table":"ledger","caps":{"runUsd":1,"monthUsd":1}}',
  VOXELBURST_INGEST:
    '{"rung":"spot-cpu","queue":"queue","instanceType":"r6id.4xlarge","childrenPerInstance":4,"waitSeconds":60,"attempts":1,"attemptSeconds":60}',
  VOXELBURST_DATA_URI: "s3://data/",
  VOXELBURST_ARTEFACTS_URI: "s3://artefacts/",
  VOXELBURST_QUARANTINE_URI: "s3://quarantine/",
};

/** Prints the milliseconds from before the import to the answer, whatever it is. */
const SCRIPT = `
const began = performance.now();
const { handler } = await import(process.argv[1]);
const imported = performance.now();
const context = { functionName: "f", awsRequestId: "1", memoryLimitInMB: "512", getRemainingTimeInMillis: () => 60000 };
await handler({}, context).catch(() => undefined);
process.send({ importMs: imported - began, answerMs: performance.now() - began });
process.exit(0);
`;

async function measure(bundle: string): Promise<{ importMs: number; answerMs: number }> {
  const child = spawn(process.execPath, ["--enable-source-maps", "--input-type=module", "-e", SCRIPT, bundle], {
    env: ENVIRONMENT,
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  return new Promise((resolve, reject) => {
    child.once("message", (times) => resolve(times as { importMs: number; answerMs: number }));
    child.once("exit", (code) => reject(new Error(`the process ended with ${code}`)));
  });
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;

export interface ColdStart {
  verb: LambdaVerb;
  bundleKiB: number;
  gzipKiB: number;
  /** Medians. */
  importMs: number;
  answerMs: number;
}

export async function coldStarts(repeats = REPEATS): Promise<ColdStart[]> {
  const folder = mkdtempSync(path.join(tmpdir(), "voxelburst-cold-start-"));
  const starts: ColdStart[] = [];
  try {
    for (const verb of LAMBDAS) {
      const bundle = path.join(folder, verb, "index.mjs");
      await bundleLambda(verb, bundle);
      const times: { importMs: number; answerMs: number }[] = [];
      for (let repeat = 0; repeat < repeats; repeat++) times.push(await measure(bundle));
      starts.push({
        verb,
        bundleKiB: statSync(bundle).size / 1024,
        gzipKiB: gzipSync(readFileSync(bundle)).length / 1024,
        importMs: median(times.map(({ importMs }) => importMs)),
        answerMs: median(times.map(({ answerMs }) => answerMs)),
      });
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  return starts;
}

if (import.meta.main) {
  console.log(`Node ${process.version}, ${cpus()[0]?.model}, median of ${REPEATS}\n`);
  console.log("| function | bundle KiB | gzip KiB | import ms | import to first answer ms |\n|---|---|---|---|---|");
  for (const { verb, bundleKiB, gzipKiB, importMs, answerMs } of await coldStarts())
    console.log(
      `| ${verb} | ${bundleKiB.toFixed(0)} | ${gzipKiB.toFixed(0)} | ${importMs.toFixed(0)} | ${answerMs.toFixed(0)} |`,
    );
}

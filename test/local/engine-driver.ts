// A process that claims a run and conducts it, so that a test can kill it: `node engine-driver.ts HOME DEFINITION`.
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { RunRequest, VoxelburstError } from "../../lib/contracts/index.ts";
import { diskError } from "../../lib/local/disk-error.ts";
import { LocalExecutions } from "../../lib/local/executions.ts";
import { FolderStore } from "../../lib/local/folder-store.ts";
import { homeAt } from "../../lib/local/home.ts";
import { conductRun } from "../../lib/local/local-engine.ts";
import { findPython } from "../../lib/local/machine.ts";

const [folder = "", definitionFile = ""] = process.argv.slice(2);
const home = homeAt(folder);
const identity = "0123456789ab".padEnd(64, "0");
const request: RunRequest = {
  schema: 1,
  runId: "phantoms-0123456789ab-1",
  identity,
  attempt: 1,
  version: "1",
  dataset: "phantoms",
  datasetUri: "file:///nowhere/",
  artefactsUri: home.artefactsUri,
  quarantineUri: home.quarantineUri,
  ingestShards: 2,
};
const executions = new LocalExecutions(home, readFileSync(definitionFile, "utf8"), "1");
const state = await executions.state(request.runId);
if (state === "absent") await executions.start(request);
else if (state === "failed") await executions.redrive(request);
if (!executions.claimed) {
  console.log(JSON.stringify({ state }));
} else {
  const abort = new AbortController();
  process.once("SIGINT", () => abort.abort());
  const result = await conductRun(executions.claimed, {
    store: new FolderStore(),
    clock: { now: () => new Date() },
    machine: { where: "local", gpus: 0, cpus: 2, memoryGiB: 8, engines: ["torch"] },
    python: findPython(),
    entry: [fileURLToPath(new URL("stand-in.py", import.meta.url))],
    pseudonymKey: "key",
    signal: abort.signal,
    observer: {
      onHistory: () => undefined,
      onProgress: () => undefined,
      onError: () => undefined,
      onNotice: () => undefined,
    },
    functions: {
      // On a disk that is full until a file is there.
      plan: async (payload) => {
        const { room } = payload as { room?: string };
        if (room && !existsSync(room))
          throw diskError(Object.assign(new Error("no space left"), { code: "ENOSPC" }), "the run's data");
        return { planned: payload };
      },
    },
  }).catch((error: VoxelburstError) => ({ error: error.code }));
  console.log(JSON.stringify(result));
}

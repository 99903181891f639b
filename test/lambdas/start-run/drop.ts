// Datasets on disk for the tests of start-run, and an in-process record of executions in Step Functions' place.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { onTestFinished } from "vitest";
import type { Executions, RunState, StartRunInput, StartRunPorts } from "../../../lambdas/start-run/core.ts";
import type { RunRequest } from "../../../lib/contracts/index.ts";
import { FolderStore } from "../../../lib/local/folder-store.ts";
import { folderUri } from "../../../lib/local/home.ts";

export type Files = Record<string, string | object>;

/** Three labelled NIfTI cases and one to predict; the files' content is never read before ingest. */
export const goodFiles = (): Files => ({
  "dataset.json": {
    name: "Phantoms",
    modality: { "0": "CT" },
    labels: { "0": "background", "1": "organ", "2": "lesion" },
    training: ["a", "b", "c"].map((id) => ({
      image: `./imagesTr/${id}.nii.gz`,
      label: `./labelsTr/${id}.nii.gz`,
      patient: `patient of ${id}`,
    })),
    test: ["./imagesTs/d.nii.gz"],
  },
  ...Object.fromEntries(
    ["a", "b", "c"].flatMap((id) => [
      [`imagesTr/${id}.nii.gz`, `image ${id}`],
      [`labelsTr/${id}.nii.gz`, `label ${id}`],
    ]),
  ),
  "imagesTs/d.nii.gz": "image d",
});

export class RecordedExecutions implements Executions {
  readonly states = new Map<string, RunState>();
  readonly started: RunRequest[] = [];
  readonly redriven: string[] = [];
  canRedrive = false;

  async state(runId: string): Promise<RunState> {
    return this.states.get(runId) ?? "absent";
  }
  async start(request: RunRequest): Promise<void> {
    if (this.states.get(request.runId) === "open") return;
    this.states.set(request.runId, "open");
    this.started.push(request);
  }
  async redrive({ runId }: RunRequest): Promise<boolean> {
    if (this.canRedrive) this.redriven.push(runId);
    return this.canRedrive;
  }
}

export interface Drop {
  folder: string;
  input: StartRunInput;
  ports: StartRunPorts;
  executions: RecordedExecutions;
  artefacts: string;
  write(files: Files): void;
  remove(name: string): void;
}

export function drop(files: Files = goodFiles()): Drop {
  const root = mkdtempSync(path.join(tmpdir(), "voxelburst-drop-"));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  const folder = path.join(root, "dataset");
  const artefacts = path.join(root, "artefacts");
  mkdirSync(folder);
  const executions = new RecordedExecutions();
  const write = (more: Files) => {
    for (const [name, content] of Object.entries(more)) {
      const at = path.join(folder, name);
      mkdirSync(path.dirname(at), { recursive: true });
      writeFileSync(at, typeof content === "string" ? content : JSON.stringify(content));
    }
  };
  write(files);
  return {
    folder,
    artefacts,
    executions,
    write,
    remove: (name) => rmSync(path.join(folder, name), { recursive: true }),
    input: {
      dataset: "phantoms",
      datasetUri: folderUri(folder),
      artefactsUri: folderUri(artefacts),
      quarantineUri: folderUri(path.join(root, "quarantine")),
    },
    ports: {
      store: new FolderStore(),
      executions,
      version: "1.0.0+test",
      pseudonymKey: "k".repeat(64),
      ingestShards: (cases) => Math.ceil(cases / 2),
    },
  };
}

/** dataset.json of goodFiles with some fields replaced. */
export const manifestWith = (fields: object): Files => ({
  "dataset.json": { ...(goodFiles()["dataset.json"] as object), ...fields },
});

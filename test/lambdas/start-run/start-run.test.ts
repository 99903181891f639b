import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { startRun } from "../../../lambdas/start-run/core.ts";
import {
  dataset,
  ingestCase,
  keys,
  problemsOf,
  readJson,
  readJsonLines,
  runRequest,
  splits,
  task,
  under,
} from "../../../lib/contracts/index.ts";
import { type Drop, drop, goodFiles, manifestWith } from "./drop.ts";

const start = (d: Drop, extra: object = {}) => startRun({ ...d.input, ...extra }, d.ports);
const casesOf = (d: Drop, runId: string) =>
  readJsonLines(d.ports.store, under(d.input.artefactsUri, keys.taskCases(runId, "ingest")), ingestCase);

describe("a dropped dataset", () => {
  test("starts one run and writes what ingest reads, each document in its contract's form", async () => {
    const d = drop();
    d.write({ "splits.json": [{ train: ["a", "b"], val: ["c"] }], "recipe.yaml": "train: {steps: 5}\n" });
    const { request, outcome } = await start(d);
    expect(outcome).toBe("started");
    expect(problemsOf(runRequest, request)).toEqual([]);
    expect(request).toMatchObject({ attempt: 1, dataset: "phantoms", ingestShards: 2 });
    expect(request.runId).toBe(`phantoms-${request.identity.slice(0, 12)}-1`);
    expect(d.executions.started).toEqual([request]);

    const { store } = d.ports;
    const at = (key: string) => under(d.input.artefactsUri, key);
    expect(await readJson(store, at(keys.request(request.runId)), runRequest)).toEqual(request);
    expect((await readJson(store, at(keys.definition(request.runId)), dataset)).labels).toEqual([
      { value: 0, name: "background" },
      { value: 1, name: "organ" },
      { value: 2, name: "lesion" },
    ]);
    expect(await readJson(store, at(keys.splits(request.runId)), splits)).toEqual({
      fold0: { train: ["a", "b"], val: ["c"] },
    });
    const ingest = await readJson(store, at(keys.task(request.runId, "ingest")), task);
    expect(ingest).toMatchObject({ stage: "ingest", taskId: "ingest", minSlices: 4, shards: 2 });
    const cases = await casesOf(d, request.runId);
    expect(cases.map((one) => [one.caseId, one.split, one.label?.key])).toEqual([
      ["a", "training", "labelsTr/a.nii.gz"],
      ["b", "training", "labelsTr/b.nii.gz"],
      ["c", "training", "labelsTr/c.nii.gz"],
      ["d", "test", undefined],
    ]);
  });

  test("keeps no patient's name in what it writes, only a keyed hash", async () => {
    const d = drop();
    const { request } = await start(d);
    const folder = path.join(d.artefacts, keys.run(request.runId));
    const text = ["request.json", "dataset.json", "recipe.json", "tasks/ingest.json", "tasks/ingest.cases.jsonl"]
      .map((name) => readFileSync(path.join(folder, name), "utf8"))
      .join("");
    expect(text).not.toContain("patient of");
    const patients = (await casesOf(d, request.runId)).map((one) => one.patient);
    expect(patients[0]).toMatch(/^patient-[0-9a-f]{16}$/);
    expect(new Set(patients).size).toBe(4);
    const other = drop();
    other.ports.pseudonymKey = "another key";
    const { request: otherRequest } = await start(other);
    expect((await casesOf(other, otherRequest.runId))[0]?.patient).not.toBe(patients[0]);
  });

  test("names a case by its manifest id, its NIfTI's stem, or its position for a folder of DICOM", async () => {
    const d = drop({
      ...manifestWith({
        training: [
          { id: "first", image: "x/1.nii.gz", label: "y/1.nii.gz" },
          { image: "x/second.nii", label: "y/2.nii.gz" },
          { image: "Mustermann/series", label: "y/3.nii.gz" },
          { image: "x/fourth_0000.nii.gz", label: "y/fourth.nii.gz" },
        ],
        test: [],
      }),
      "x/1.nii.gz": "1",
      "x/second.nii": "2",
      "Mustermann/series/1.dcm": "30",
      "Mustermann/series/2.dcm": "31",
      "x/fourth_0000.nii.gz": "4",
      "y/1.nii.gz": "1",
      "y/2.nii.gz": "2",
      "y/3.nii.gz": "3",
      "y/fourth.nii.gz": "4",
    });
    const cases = await casesOf(d, (await start(d)).request.runId);
    expect(cases.map((one) => one.caseId)).toEqual(["first", "second", "case-0003", "fourth"]);
    expect(cases[2]?.images).toEqual([{ key: "Mustermann/series/", bytes: 4 }]);
  });

  test("lists nnU-Net's folders, with one image a channel", async () => {
    const image = (folder: string, id: string) =>
      Object.fromEntries([0, 1].map((channel) => [`${folder}/${id}_000${channel}.nii.gz`, `${id}${channel}`]));
    const d = drop({
      "dataset.json": {
        channel_names: { "0": "T1", "1": "T2" },
        labels: { background: 0, tumour: 1 },
        numTraining: 2,
        file_ending: ".nii.gz",
      },
      ...image("imagesTr", "case_002"),
      ...image("imagesTr", "case_001"),
      ...image("imagesTs", "new"),
      "labelsTr/case_001.nii.gz": "l1",
      "labelsTr/case_002.nii.gz": "l2",
    });
    const { request } = await start(d);
    expect((await casesOf(d, request.runId)).map((one) => [one.caseId, one.images.map((i) => i.key)])).toEqual([
      ["case_001", ["imagesTr/case_001_0000.nii.gz", "imagesTr/case_001_0001.nii.gz"]],
      ["case_002", ["imagesTr/case_002_0000.nii.gz", "imagesTr/case_002_0001.nii.gz"]],
      ["new", ["imagesTs/new_0000.nii.gz", "imagesTs/new_0001.nii.gz"]],
    ]);
    expect(
      (await readJson(d.ports.store, under(d.input.artefactsUri, keys.definition(request.runId)), dataset)).channels,
    ).toEqual(["T1", "T2"]);
  });
});

describe("the identity of a run", () => {
  test("is the same for the same content, and another for a corrected label, a recipe, a version or a nonce", async () => {
    const identityOf = async (change: (d: Drop) => void, extra: object = {}) => {
      const d = drop();
      change(d);
      return (await start(d, extra)).request.identity;
    };
    const plain = await identityOf(() => undefined);
    expect(await identityOf(() => undefined)).toBe(plain);
    const others = await Promise.all([
      identityOf((d) => d.write({ "labelsTr/a.nii.gz": "corrected" })),
      identityOf((d) => d.write({ "recipe.yaml": "train: {steps: 5}" })),
      identityOf(() => undefined, { set: ["train.steps=7"] }),
      identityOf((d) => Object.assign(d.ports, { version: "1.0.1" })),
      identityOf(() => undefined, { nonce: "nightly-1" }),
    ]);
    expect(new Set([plain, ...others]).size).toBe(6);
  });

  test("leaves the hashes of the cases alone whose files did not change", async () => {
    const before = drop();
    const after = drop();
    after.write({ "labelsTr/b.nii.gz": "corrected" });
    const hashes = async (d: Drop) => (await casesOf(d, (await start(d)).request.runId)).map((one) => one.caseHash);
    const [old, corrected] = [await hashes(before), await hashes(after)];
    expect(corrected.map((hash, index) => hash === old[index])).toEqual([true, false, true, true]);
  });

  test("does not depend on where the dataset lies: a moved folder names its run again", async () => {
    const d = drop();
    const { request } = await start(d);
    const moved = drop();
    const again = await startRun({ ...d.input, datasetUri: moved.input.datasetUri }, d.ports);
    expect(again).toEqual({ request, outcome: "open" });
  });
});

describe("the same dataset again", () => {
  test("names the run that is open or succeeded", async () => {
    const d = drop();
    const { request } = await start(d);
    expect(await start(d)).toEqual({ request, outcome: "open" });
    d.executions.states.set(request.runId, "succeeded");
    expect(await start(d)).toEqual({ request, outcome: "succeeded" });
    expect(d.executions.started).toHaveLength(1);
  });

  test("redrives a failed run where that is possible, and takes the next attempt otherwise", async () => {
    const d = drop();
    const { request } = await start(d);
    d.executions.states.set(request.runId, "failed");
    d.executions.canRedrive = true;
    expect(await start(d)).toEqual({ request, outcome: "redriven" });
    d.executions.canRedrive = false;
    const second = await start(d);
    expect(second.request).toMatchObject({ attempt: 2, identity: request.identity });
    expect(second.request.runId).toMatch(/-2$/);
    expect(second.outcome).toBe("started");
  });

  test("of a run that was stopped starts one next attempt, however many deliveries come at once", async () => {
    const d = drop();
    const { request } = await start(d);
    d.executions.states.set(request.runId, "failed");
    Reflect.set(d.executions, "redrive", undefined); // as on AWS
    const all = await Promise.all(Array.from({ length: 8 }, () => start(d)));
    expect(new Set(all.map((one) => one.request.runId))).toEqual(new Set([request.runId.replace(/-1$/, "-2")]));
    expect(d.executions.started).toHaveLength(2);
  });

  test("starts exactly one run when its event is delivered many times at once", async () => {
    const d = drop();
    const all = await Promise.all(Array.from({ length: 12 }, () => start(d)));
    expect(new Set(all.map(({ request }) => request.runId)).size).toBe(1);
    expect(d.executions.started).toHaveLength(1);
  });

  test("starts the run whose delivery died between writing it and starting it", async () => {
    const d = drop();
    d.executions.start = async () => {
      throw new Error("killed");
    };
    await expect(start(d)).rejects.toThrow("killed");
    Reflect.deleteProperty(d.executions, "start");
    expect(await start(d)).toMatchObject({ outcome: "started", request: { attempt: 1 } });
  });
});

describe("bad cases among good ones", () => {
  test("go on to ingest without their object, so that they end in quarantine", async () => {
    const d = drop();
    d.remove("labelsTr/a.nii.gz");
    d.remove("imagesTr/b.nii.gz");
    const cases = await casesOf(d, (await start(d)).request.runId);
    expect(cases[0]?.label).toBeUndefined();
    expect(cases[1]?.images).toEqual([{ key: "imagesTr/b.nii.gz", bytes: 0 }]);
    expect(cases[2]?.label?.key).toBe("labelsTr/c.nii.gz");
  });

  test("refuse the dataset before anything starts when no case is left", async () => {
    const d = drop();
    d.remove("labelsTr");
    await expect(start(d)).rejects.toMatchObject({ code: "NoUsableCase" });
    expect(d.executions.started).toEqual([]);
  });
});

describe("refusals name what is wrong", () => {
  const refused = async (files: object, expected: object, extra: object = {}) => {
    const d = drop({ ...goodFiles(), ...files });
    await expect(start(d, extra)).rejects.toMatchObject(expected);
    expect(d.executions.started).toEqual([]);
  };
  const field = (name: string) => expect.objectContaining({ field: name });

  test("an empty folder", async () => {
    await expect(start(drop({}))).rejects.toMatchObject({ code: "DatasetMissing" });
  });
  test("a manifest that is not JSON", () => refused({ "dataset.json": "{" }, { code: "DatasetInvalid" }));
  test("labels that are not consecutive", () =>
    refused(manifestWith({ labels: { "0": "background", "2": "organ" } }), {
      code: "DatasetInvalid",
      details: field("labels"),
    }));
  test("a path that climbs out of the dataset, without showing it", async () => {
    const files = manifestWith({ training: [{ image: "../Mustermann/1.nii.gz", label: "l.nii.gz" }] });
    await refused(files, { code: "DatasetInvalid", details: field("training[0].image") });
    await refused(files, { message: expect.not.stringContaining("Mustermann") });
  });
  test("a patient that is a number, without showing it", async () => {
    const files = manifestWith({ training: [{ image: "i.nii.gz", label: "l.nii.gz", patient: 4711 }] });
    await refused(files, { code: "DatasetInvalid", details: field("training[0].patient") });
    await refused(files, { message: expect.not.stringContaining("4711") });
  });
  test("one id for two cases", () =>
    refused(
      manifestWith({
        training: ["x", "y"].map((folder) => ({ image: `${folder}/a.nii.gz`, label: `l${folder}/a.nii.gz` })),
      }),
      { code: "CaseDuplicated", details: field("training[1]") },
    ));
  test("one image in two cases", () =>
    refused(manifestWith({ training: ["x", "y"].map((id) => ({ id, image: "a.nii.gz", label: `${id}.nii.gz` })) }), {
      code: "CaseDuplicated",
    }));
  test("a numTraining that is not the number of training cases, in either form", async () => {
    const mismatch = {
      code: "DatasetInvalid",
      message: expect.stringMatching(/numTraining is 99, but .*3 .*; allowed: 3\./),
      details: { field: "numTraining", got: "99", allowed: "3" },
    };
    await refused(manifestWith({ numTraining: 99 }), mismatch);
    const nnunet = {
      channel_names: { "0": "CT" },
      labels: { background: 0, organ: 1 },
      numTraining: 99,
      file_ending: ".nii.gz",
    };
    const images = Object.fromEntries(["a", "b", "c"].map((id) => [`imagesTr/${id}_0000.nii.gz`, id]));
    const d = drop({ "dataset.json": nnunet, ...images });
    await expect(start(d)).rejects.toMatchObject(mismatch);
  });
  test("no dataset whose numTraining is the number of training cases", async () => {
    const d = drop({ ...goodFiles(), ...manifestWith({ numTraining: 3 }) });
    expect((await start(d)).outcome).toBe("started");
  });
  test("three files for one channel", () =>
    refused(manifestWith({ training: [{ image: ["a.nii", "b.nii", "c.nii"], label: "l.nii" }] }), {
      code: "DatasetInvalid",
      details: field("training[0].image"),
    }));
  test("an unknown case in splits.json", () =>
    refused(
      { "splits.json": { f: { train: ["a"], val: ["z"] } } },
      { code: "SplitsUnknownCase", details: field("f.val[0]") },
    ));
  test("a test case in splits.json", () =>
    refused({ "splits.json": { f: { train: ["a"], val: ["d"] } } }, { code: "SplitsUnknownCase" }));
  test("a case on both sides of a fold", () =>
    refused(
      { "splits.json": { f: { train: ["a", "b"], val: ["b"] } } },
      { code: "SplitsOverlap", details: expect.objectContaining({ caseId: "b" }) },
    ));
  test("a patient on both sides of a fold, naming the cases alone", () =>
    refused(
      {
        ...manifestWith({
          training: ["a", "b"].map((id) => ({
            image: `imagesTr/${id}.nii.gz`,
            label: `labelsTr/${id}.nii.gz`,
            patient: "Mustermann",
          })),
        }),
        "splits.json": { f: { train: ["a"], val: ["b"] } },
      },
      { code: "PatientInBothParts", message: expect.not.stringContaining("Mustermann") },
    ));
  test("a recipe that is not YAML, with its line", () =>
    refused(
      { "recipe.yaml": "train:\n  steps: [1\n" },
      { code: "RecipeInvalid", message: expect.stringMatching(/in line \d/) },
    ));
  test("a recipe with an unknown field, naming those that exist", () =>
    refused(
      { "recipe.yaml": "train: {stepps: 5}" },
      { code: "RecipeInvalid", message: expect.stringMatching(/train\.stepps.*minutes, steps/) },
    ));
  test("a recipe.yml, which nothing would read", () =>
    refused({ "recipe.yml": "train: {steps: 5}" }, { code: "RecipeInvalid", details: field("recipe.yml") }));
  test("a fold that will not exist", () =>
    refused({ "recipe.yaml": "folds: fold7" }, { code: "RecipeInvalid", details: field("folds") }));
  test("a bad assignment as its own error", async () => {
    await refused({}, { code: "SetInvalid", details: field("train.steps") }, { set: ["train.steps=many"] });
    await refused({}, { code: "SetInvalid" }, { set: ["train.steps"] });
    await refused({}, { code: "SetInvalid", details: field("folds") }, { set: ["folds=fold9"] });
  });
});

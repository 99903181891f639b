// What predict shows and returns of a process that refuses an image: the lines are those that the Python tests hold
// predict.py to, printed by a program in its place, since a model folder takes a training.
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { CommandContext } from "../../lib/cli/command.ts";
import { predict } from "../../lib/cli/commands/predict.ts";
import type { Message } from "../../lib/cli/messages.ts";
import type { Workbench } from "../../lib/local/workbench.ts";

const root = mkdtempSync(path.join(tmpdir(), "voxelburst-predict-"));
afterAll(() => rmSync(root, { recursive: true }));
const model = path.join(root, "model");
mkdirSync(model);
writeFileSync(path.join(model, "model.json"), "{}");
const image = path.join(root, "image.nii.gz");
writeFileSync(image, "");
const out = path.join(root, "out");

const document = (code: string, message: string) => ({ schema: 1, code, message, remedy: `Mend ${code}.` });
const GOOD = { type: "prediction", image: "a", mask: "a.nii.gz", voxels: {}, windows: 1, seconds: 1 };
const BAD = {
  type: "refusal",
  image: "b-nan",
  error: { ...document("NonFiniteVoxels", "2 of 8 voxels are NaN."), got: "2", allowed: "numbers" },
};
const SUMMARY = { images: 2, predicted: 1, refused: 1 };
const END = { type: "error", ...document("ImagesRefused", "1 of 2 images were refused.") };

async function outcomeOf(exitCode: number, ...lines: object[]) {
  const python = path.join(root, "program");
  const echo = lines.map((line) => `printf '%s\\n' '${JSON.stringify(line)}'\n`).join("");
  writeFileSync(python, `#!/bin/sh\n${echo}exit ${exitCode}\n`);
  chmodSync(python, 0o755);
  const said: Message[] = [];
  const context: CommandContext = {
    emit: (message) => said.push(message),
    workbench: { home: { folder: path.join(root, ".voxelburst") }, python } as Workbench,
    signal: new AbortController().signal,
  };
  const result = await predict(context, [model, image], { out, model: [] });
  const errors = said.flatMap((message) => (message.kind === "error" ? [message] : []));
  return { ...result, errors };
}

describe("predict", () => {
  test("shows each refused image's own error in words before it ends with how many there were", async () => {
    const { errors, exitCode } = await outcomeOf(1, BAD, GOOD, SUMMARY, END);
    expect(exitCode).toBe(2);
    expect(errors).toMatchObject([
      {
        code: "NonFiniteVoxels",
        text: "b-nan: 2 of 8 voxels are NaN. (got 2; allowed: numbers)",
        remedy: "Mend NonFiniteVoxels.",
      },
      { code: "ImagesRefused", text: "1 of 2 images were refused." },
    ]);
  });

  test("returns the masks that it wrote and each image's error when some were refused", async () => {
    const { json } = await outcomeOf(1, BAD, GOOD, SUMMARY, END);
    expect(json).toEqual({
      status: "failed",
      error: document("ImagesRefused", "1 of 2 images were refused."),
      out,
      masks: { a: path.join(out, "a.nii.gz") },
      errors: [
        {
          image: "b-nan",
          code: "NonFiniteVoxels",
          message: "2 of 8 voxels are NaN.",
          remedy: "Mend NonFiniteVoxels.",
          got: "2",
          allowed: "numbers",
        },
      ],
    });
  });

  test("returns the masks by image and no errors when all were predicted", async () => {
    const { json, exitCode, errors } = await outcomeOf(0, GOOD, { ...SUMMARY, refused: 0 });
    expect({ exitCode, errors }).toEqual({ exitCode: 0, errors: [] });
    expect(json).toMatchObject({ status: "succeeded", masks: { a: path.join(out, "a.nii.gz") }, errors: [] });
  });
});

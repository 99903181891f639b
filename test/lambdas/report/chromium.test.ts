// The page in a real browser: nothing asked for, nothing complained of, nothing wider than the screen.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Chromium, chromiumPath } from "./chromium.ts";
import { produce } from "./produce.ts";
import { RunFixture } from "./run-fixture.ts";

const where = chromiumPath
  ? "in Chromium"
  : "in Chromium (skipped: none is installed; on Debian `apt-get install chromium`)";

describe.skipIf(!chromiumPath)(`report.html ${where}`, () => {
  let browser: Chromium;
  let folder: string;
  let url: string;
  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "report-page-"));
    const run = new RunFixture({
      strategies: ["fp32", "dali"],
      engines: ["torch", "onnxruntime"],
      name: `</title><script>console.error("injected")</script>`,
    });
    run.fail({
      code: "StageFailed",
      message: `<img src="http://192.0.2.1/x.png" onerror="console.error(1)">`,
      remedy: "None.",
      stage: "train",
      taskId: "train-x",
    });
    const file = path.join(folder, "report.html");
    writeFileSync(file, (await produce(run)).html);
    url = pathToFileURL(file).href;
    browser = await Chromium.start(chromiumPath!);
  }, 60_000);
  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it.each([
    ["light", 1200],
    ["dark", 1200],
    ["light", 390],
    ["dark", 390],
  ] as const)(
    "in the %s theme at %i px: no request, no complaint, no sideways scrolling of the page",
    async (scheme, widthPx) => {
      await browser.open(url, { widthPx, scheme });
      expect(browser.requests).toEqual([]);
      expect(browser.complaints).toEqual([]);
      expect(await browser.evaluate("document.documentElement.scrollWidth")).toBe(widthPx);
      expect(
        await browser.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)"),
      ).toBe(true);
      // Rects of text that leave the window although no box of theirs scrolls.
      const outside = await browser.evaluate<
        string[]
      >(`[...document.querySelectorAll("p, li, dd, h1, h2, figcaption, .reflow td, svg text")]
      .filter((node) => node.getClientRects().length > 0 && !node.closest(".table:not(.reflow)"))
      .filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
      .map((node) => node.textContent.slice(0, 60))`);
      if (widthPx === 390) expect(outside).toEqual([]);
      const paper = await browser.evaluate<string>("getComputedStyle(document.body).backgroundColor");
      expect(paper).toBe(scheme === "light" ? "rgb(253, 252, 249)" : "rgb(22, 21, 19)");
    },
  );

  it("draws its text at 10 px or more on a phone", async () => {
    await browser.open(url, { widthPx: 390 });
    const smallest =
      await browser.evaluate<number>(`Math.min(...[...document.querySelectorAll("svg text")].filter((node) => node.getClientRects().length > 0).map((node) => {
      const svg = node.ownerSVGElement;
      return parseFloat(getComputedStyle(node).fontSize) * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    }))`);
    expect(smallest).toBeGreaterThanOrEqual(10);
  });

  it("prints on paper, whatever the theme", async () => {
    await browser.open(url, { widthPx: 1200, scheme: "dark" });
    const pdf = await browser.pdf();
    expect(pdf.subarray(0, 5).toString()).toBe("%PDF-");
  });
});

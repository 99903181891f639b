// Which cases are pictured, and their previews from the store: worst, median and best of a segmentation by Dice.
import { type CaseScores, type ObjectStore, type Report, under } from "../../lib/contracts/index.ts";
import { headlineOf } from "./assemble.ts";
import { mapSome } from "./gather.ts";

export interface Picture {
  segmentation: string;
  rank: "worst" | "median" | "best";
  scores: CaseScores;
  /** data: URI of the PNG; absent when infer wrote none, or one that cannot be shown. */
  dataUri?: string;
  widthPx?: number;
  heightPx?: number;
}

/** One embedded preview is at most this large, so that a report stays a file one can send. */
const MOST_BYTES = 1_500_000;
/** Segmentations pictured: the headline's and the first of the other trainings. */
const MOST_SEGMENTATIONS = 6;

const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

/** Worst, median (the lower of two) and best by mean Dice, each case once; test cases have no Dice. */
export function chosen(cases: readonly CaseScores[]): Pick<Picture, "rank" | "scores">[] {
  const ranked = cases
    .filter((scores) => scores.meanDice !== null)
    .toSorted((a, b) => a.meanDice! - b.meanDice! || a.caseId.localeCompare(b.caseId));
  const last = ranked.length - 1;
  const places: [Picture["rank"], number][] = [
    ["worst", 0],
    ["median", Math.floor(last / 2)],
    ["best", last],
  ];
  const wanted = last === 0 ? places.slice(0, 1) : last === 1 ? [places[0]!, places[2]!] : places;
  return last < 0 ? [] : wanted.map(([rank, at]) => ({ rank, scores: ranked[at]! }));
}

/** One segmentation a training, whose cases are shown one by one: the headline's first, then those that give a Dice. */
export function shownSegmentations(report: Report): Report["segmentations"] {
  const headline = headlineOf(report.rows);
  const byTraining = new Map<string, string>();
  for (const row of [...(headline ? [headline] : []), ...report.rows.filter((entry) => entry.kind === "training")]) {
    const training = `${row.fold}-${row.strategy}`;
    const engine = row.engine ?? row.diceFrom;
    if (engine && !byTraining.has(training)) byTraining.set(training, `${training}-${engine}`);
  }
  return [...byTraining.values()]
    .map((name) => report.segmentations.find((segmentation) => segmentation.name === name))
    .filter((segmentation) => segmentation !== undefined);
}

/** Previews of the shown segmentations, read from the artefacts. */
export async function picturesOf(report: Report, store: ObjectStore, artefactsUri: string): Promise<Picture[]> {
  const wanted = shownSegmentations(report)
    .slice(0, MOST_SEGMENTATIONS)
    .flatMap(({ name, cases }) => chosen(cases).map((choice) => ({ segmentation: name, ...choice })));
  return mapSome(wanted, async (picture): Promise<Picture> => {
    const { previewKey } = picture.scores;
    const bytes = previewKey ? await store.get(under(artefactsUri, previewKey)) : undefined;
    if (!bytes || bytes.length > MOST_BYTES || bytes.length < 24 || !PNG.every((byte, at) => bytes[at] === byte))
      return picture;
    // IHDR is always first: width and height are bytes 16 to 23, so that the page does not jump while it loads.
    const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return {
      ...picture,
      dataUri: `data:image/png;base64,${Buffer.from(bytes).toString("base64")}`,
      widthPx: header.getUint32(16),
      heightPx: header.getUint32(20),
    };
  });
}

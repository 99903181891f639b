// A night of the benchmark: the schedule's event becomes the start of a run that skips nothing that is timed.
import {
  keys,
  NIGHTLY_SOURCE,
  type NightlyEvent,
  nightlyEvent,
  parseOrThrow,
  under,
} from "../../lib/contracts/index.ts";
import type { StartRunInput } from "./core.ts";

export interface Roots {
  dataUri: string;
  artefactsUri: string;
  quarantineUri: string;
}

/** Whether an event is the schedule's, and not an upload's. */
export const isNightlyEvent = (event: { source?: unknown }): boolean => event.source === NIGHTLY_SOURCE;

/**
 * The scheduled time is the nonce: every delivery of one night's event names one run, and another night's content is
 * another identity although the dataset is the same.
 *
 * @throws VoxelburstError NightlyEventInvalid
 */
export function nightlyInput(event: unknown, { dataUri, artefactsUri, quarantineUri }: Roots): StartRunInput {
  const { dataset, night, recipe }: NightlyEvent = parseOrThrow(
    nightlyEvent,
    event,
    "the schedule's event",
    "NightlyEventInvalid",
  );
  return {
    dataset,
    datasetUri: under(dataUri, keys.dataset(dataset)),
    artefactsUri,
    quarantineUri,
    night,
    nonce: `nightly-${night}`,
    // JSON is YAML.
    recipe: { name: "the schedule's recipe", text: JSON.stringify(recipe) },
  };
}

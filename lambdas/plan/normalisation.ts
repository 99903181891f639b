// Which normalisation a channel gets (nnU-Net v2, map_channel_name_to_normalization.py; recipe.md 1.3 and 2).
import type { Normalisation } from "../../lib/contracts/index.ts";
import type { Fingerprint } from "./fingerprint.ts";

/** Below this median share of voxels left by the crop, z-score looks at the nonzero mask only. */
const MASKED_BELOW = 0.75;
/** nnU-Net divides by at least this. */
const MIN_STD = 1e-8;

/** One a channel, by its name as nnU-Net reads it (letter case does not matter); an unknown name gets a z-score. */
export function normalisations(channels: readonly string[], fingerprint: Fingerprint): Normalisation[] {
  return channels.map((name, channel): Normalisation => {
    switch (name.toLowerCase()) {
      case "ct": {
        const pooled = fingerprint.intensities?.[channel];
        // Without any foreground there is nothing to pool: nnU-Net would plan with NaN.
        if (!pooled) return { scheme: "zscore", masked: false };
        return {
          scheme: "ct",
          clipLow: pooled.percentile00_5,
          clipHigh: pooled.percentile99_5,
          mean: pooled.mean,
          std: Math.max(pooled.std, MIN_STD),
        };
      }
      case "nonorm":
        return { scheme: "none" };
      case "rescale_0_1":
      case "rescale_to_0_1":
        return { scheme: "rescale-0-1" };
      case "rgb_to_0_1":
        return { scheme: "rgb-0-1" };
      default:
        return { scheme: "zscore", masked: fingerprint.medianRelativeSize < MASKED_BELOW };
    }
  });
}

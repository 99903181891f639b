// Target spacing, axis order, shapes after resampling (nnU-Net v2, default_experiment_planner.py; recipe.md 1.2).
import { argmax, map3, median, percentile, roundHalfEven, type Triple } from "./arithmetic.ts";
import type { Fingerprint } from "./fingerprint.ts";

/** Above this ratio an axis is coarse: nnU-Net's ANISO_THRESHOLD. */
export const ANISOTROPY = 3;

/** Median spacing; a coarse axis with few slices gets the 10th percentile instead, so that slices are not invented. */
export function targetSpacing({ spacingsMmZyx, croppedShapesZyx }: Fingerprint): Triple {
  const column = (rows: readonly Triple[], axis: number) => rows.map((row) => row[axis]!);
  const target = map3([0, 0, 0], (_, axis) => median(column(spacingsMmZyx, axis)));
  const size = map3([0, 0, 0], (_, axis) => median(column(croppedShapesZyx, axis)));
  const coarsest = argmax(target);
  const others = [0, 1, 2].filter((axis) => axis !== coarsest);
  const coarsestOther = Math.max(...others.map((axis) => target[axis]!));
  const coarse = target[coarsest]! > ANISOTROPY * coarsestOther;
  const few = size[coarsest]! * ANISOTROPY < Math.min(...others.map((axis) => size[axis]!));
  if (coarse && few) {
    const fine = percentile(column(spacingsMmZyx, coarsest), 10);
    // Never finer than the other axes; 1e-5 keeps it the coarsest one.
    target[coarsest] = fine < coarsestOther ? coarsestOther + 1e-5 : fine;
  }
  return target;
}

/** The coarsest axis comes first, the others keep their order. */
export function transposeFor(spacingMmZyx: Triple): Triple {
  const first = argmax(spacingMmZyx);
  return [first, ...[0, 1, 2].filter((axis) => axis !== first)] as Triple;
}

/** Shape of a case's array after resampling, in the image's axes. */
export const resampledShape = (shapeZyx: Triple, spacingMmZyx: Triple, target: Triple): Triple =>
  // A thin axis may round to nothing, where nnU-Net would fail.
  map3(shapeZyx, (edge, axis) => Math.max(1, roundHalfEven((spacingMmZyx[axis]! / target[axis]!) * edge)));

/** Median of the resampled shapes, in the image's axes; edges may end in .5. */
export function medianShape({ croppedShapesZyx, spacingsMmZyx }: Fingerprint, target: Triple): Triple {
  const shapes = croppedShapesZyx.map((shape, i) => resampledShape(shape, spacingsMmZyx[i]!, target));
  return map3([0, 0, 0], (_, axis) => median(shapes.map((shape) => shape[axis]!)));
}

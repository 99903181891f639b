"""A volume in memory: voxels in z, y, x order, and where they lie in the world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import geometry
from .geometry import Affine


@dataclass(frozen=True, kw_only=True)
class Volume:
    """voxels_zyx: C-contiguous. affine: voxel (x, y, z) to world millimetres in RAS, 4x4 float64."""

    voxels_zyx: NDArray
    affine: Affine

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        z, y, x = self.voxels_zyx.shape
        return z, y, x

    @property
    def shape_xyz(self) -> tuple[int, int, int]:
        z, y, x = self.voxels_zyx.shape
        return x, y, z

    @property
    def spacing_mm_zyx(self) -> tuple[float, float, float]:
        return geometry.spacing_zyx(self.affine)


def compact(values: NDArray, slope: float, inter: float) -> NDArray:
    """slope * values + inter, as integers when that gives integers, else as float32.

    Integers keep their type where the scaled values fit it, and get the smallest one that does otherwise;
    beyond 32 bits they become float32, as do all floats.
    """
    unscaled = slope == 1.0 and inter == 0.0
    if values.dtype.kind in "iu" and slope.is_integer() and inter.is_integer():
        low, high = (int(v) for v in (values.min(), values.max()))
        ends = sorted(int(slope) * v + int(inter) for v in (low, high))
        kept = values.dtype.newbyteorder("=")
        for dtype in (kept, np.dtype("int16"), np.dtype("uint16"), np.dtype("int32"), np.dtype("uint32")):
            if dtype.itemsize <= 4 and np.iinfo(dtype).min <= ends[0] and ends[1] <= np.iinfo(dtype).max:
                if unscaled:
                    return values.astype(dtype, copy=False)
                # Each step in 64 bits would cost four times the memory; wrapping is exact modulo 2**bits.
                out = values.astype(dtype)
                np.multiply(out, np.array(int(slope)).astype(dtype), out=out)
                np.add(out, np.array(int(inter)).astype(dtype), out=out)
                return out
    with np.errstate(over="ignore"):  # what overflows becomes inf, which is refused as such
        if unscaled:
            return values.astype(np.float32, copy=False)
        scaled = np.empty(values.shape, np.float32)
        for z in range(len(values)):  # a slice at a time: float64 for precision without its memory
            scaled[z] = values[z].astype(np.float64) * slope + inter
        return scaled

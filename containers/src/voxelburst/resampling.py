"""Resampling of images, labels and logits to another grid (recipe.md, section 2), images and labels by DALI.

Axes: d h w, the arrays' own. Grids share their outer edges: output voxel i is centred at
(i + 0.5) x old size / new size - 0.5, edges held, as in skimage's resize, which nnU-Net uses.
A coarse axis is resampled by nearest neighbour, apart from the plane of the other two.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from . import dali
from .contract import Zyx

# DALI tabulates the cubic: within 0.003 of its definition for values of unit variance (measured).
IMAGE_KERNEL = "cubic convolution (Keys, a = -0.5), no anti-aliasing; nearest along a coarse axis"
_SLAB_VOXELS = 8 << 20
LABEL_KERNEL = "linear on each class, assigned where >= 0.5; nearest along a coarse axis"


def normalised_image(
    voxels_dhw: NDArray,
    *,
    clip: tuple[float, float],
    subtracted: float,
    divisor: float,
    shape: Zyx,
    coarse_axis: int | None,
) -> NDArray[np.float32]:
    """(clipped voxels - subtracted) / divisor, then resampled to ``shape`` with `IMAGE_KERNEL`."""
    feed = {"low": clip[0], "high": clip[1], "subtracted": subtracted, "divisor": divisor}
    apart = 0 if coarse_axis is None else coarse_axis
    planes = [voxels_dhw.shape[axis] if axis == apart else shape[axis] for axis in range(3)]
    device = dali.device_id()
    first = _image_pipeline(device, planes != list(voxels_dhw.shape))
    voxels = _slab_by_slab(first, voxels_dhw, planes, along=apart, dtype=np.float32, feed=feed)
    if planes == list(shape):
        return voxels
    last = _resize_pipeline(device, "cubic" if coarse_axis is None else "nearest")
    return _slab_by_slab(last, voxels, shape, along=1 if apart == 0 else 0, dtype=np.float32)


def label(label_dhw: NDArray[np.int8], shape: Zyx, coarse_axis: int | None) -> NDArray[np.int8]:
    """A label resampled to ``shape`` with `LABEL_KERNEL`; what no class claims is background 0."""
    if label_dhw.shape == tuple(shape):
        return np.ascontiguousarray(label_dhw)
    apart = 0 if coarse_axis is None else coarse_axis
    planes = [label_dhw.shape[axis] if axis == apart else shape[axis] for axis in range(3)]
    device = dali.device_id()
    linear = _resize_pipeline(device, "linear")
    last = linear if coarse_axis is None else _resize_pipeline(device, "nearest")
    resampled = np.zeros(shape, np.int8)
    values = [int(v) for v in np.unique(label_dhw)]
    for value in values:
        # Everything starts as background, which only has something to win back from a -1 before it.
        if value == 0 and values[0] == 0:
            continue
        share = label_dhw == value
        if planes != list(label_dhw.shape):
            share = _slab_by_slab(linear, share, planes, along=apart, dtype=np.float32)
        if planes != list(shape):
            share = _slab_by_slab(last, share, shape, along=1 if apart == 0 else 0, dtype=np.float32)
        resampled[share >= 0.5] = value
    return resampled


def logits_planes(
    logits_kdhw: torch.Tensor, shape: Zyx, coarse_axis: int | None, start: int, stop: int
) -> torch.Tensor:
    """Planes [start, stop) along d of the logits resampled linearly to ``shape``; float32, on their device.

    The same grid and weights as DALI's linear resize, but plane by plane and where the logits are.
    """
    if tuple(logits_kdhw.shape[1:]) == tuple(shape):
        return logits_kdhw[:, start:stop].float()
    depth = logits_kdhw.shape[1]
    position = (torch.arange(start, stop, dtype=torch.float64) + 0.5) * depth / shape[0] - 0.5
    if coarse_axis == 0:
        nearest = (position + 0.5).floor().clamp(0, depth - 1).long().to(logits_kdhw.device)
        planes = logits_kdhw[:, nearest].float()
    else:
        position = position.clamp(0, depth - 1)
        below = position.floor().long()
        above = (below + 1).clamp(max=depth - 1)
        share = (position - below).to(logits_kdhw.device, torch.float32)[None, :, None, None]
        below, above = below.to(logits_kdhw.device), above.to(logits_kdhw.device)
        planes = torch.lerp(logits_kdhw[:, below].float(), logits_kdhw[:, above].float(), share)
    if coarse_axis == 1:
        planes = F.interpolate(planes, size=[shape[1], planes.shape[3]], mode="nearest-exact")
    elif coarse_axis == 2:
        planes = F.interpolate(planes, size=[planes.shape[2], shape[2]], mode="nearest-exact")
    return F.interpolate(planes, size=list(shape[1:]), mode="bilinear", align_corners=False)


def _slab_by_slab(
    pipeline: Any,
    voxels_dhw: NDArray,
    shape: Sequence[int],
    *,
    along: int,
    dtype: Any,
    feed: dict[str, float] | None = None,
) -> NDArray:
    """Runs a pipeline over slabs of planes along an axis whose size does not change.

    Resizing is separable: the axes are done one after the other, so that what DALI holds at a time is a slab
    and not three copies of the volume.
    """
    out = np.empty(shape, dtype)
    voxels_a_plane = max(voxels_dhw.size // voxels_dhw.shape[along], out.size // shape[along])
    planes = max(1, _SLAB_VOXELS // voxels_a_plane)
    for start in range(0, shape[along], planes):
        where = [slice(None)] * 3
        where[along] = slice(start, start + planes)
        slab_dhwc = np.ascontiguousarray(voxels_dhw[tuple(where)], np.float32)[..., None]
        size = np.array(shape, np.float32)
        size[along] = slab_dhwc.shape[along]
        pipeline.feed_input("voxels", [slab_dhwc])
        if tuple(shape) != voxels_dhw.shape:
            pipeline.feed_input("size", [size])
        for name, value in (feed or {}).items():
            pipeline.feed_input(name, [np.float32(value)])
        (output,) = pipeline.run()
        out[tuple(where)] = np.asarray(output.as_cpu().at(0))[..., 0]
    return out


def _inputs(device: int | None, *scalars: str) -> list[Any]:
    """voxels (one channel as DHWC with C = 1, read in place on the CPU), size, then the scalars."""
    fn, types = dali.modules().fn, dali.modules().types
    voxels = fn.external_source(
        name="voxels", layout="DHWC", dtype=types.FLOAT, ndim=4, no_copy=device is None
    )
    # A resize takes its size from the CPU, whatever its device.
    size = fn.external_source(name="size", dtype=types.FLOAT, ndim=1)
    values = [fn.external_source(name=name, dtype=types.FLOAT, ndim=0) for name in scalars]
    if device is None:
        return [voxels, size, *values]
    return [voxels.gpu(), size, *(value.gpu() for value in values)]


def _resize(voxels: Any, size: Any, kernel: str) -> Any:
    types = dali.modules().types
    interpolation = {"cubic": types.INTERP_CUBIC, "linear": types.INTERP_LINEAR, "nearest": types.INTERP_NN}
    return dali.modules().fn.resize(voxels, size=size, interp_type=interpolation[kernel], antialias=False)


@cache
def _image_pipeline(device: int | None, resized: bool) -> Any:
    """clip -> (v - subtracted) / divisor -> cubic resize."""

    @dali.modules().pipeline_def(**dali.one_at_a_time(device))
    def graph() -> Any:
        voxels, size, low, high, subtracted, divisor = _inputs(device, "low", "high", "subtracted", "divisor")
        normalised = (dali.modules().math.clamp(voxels, low, high) - subtracted) / divisor
        return _resize(normalised, size, "cubic") if resized else normalised

    pipeline = graph()
    pipeline.build()
    return pipeline


@cache
def _resize_pipeline(device: int | None, kernel: str) -> Any:
    @dali.modules().pipeline_def(**dali.one_at_a_time(device))
    def graph() -> Any:
        voxels, size = _inputs(device)
        return _resize(voxels, size, kernel)

    pipeline = graph()
    pipeline.build()
    return pipeline

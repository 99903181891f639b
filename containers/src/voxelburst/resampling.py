"""Resampling of images, labels and logits to another grid (recipe.md, section 2), images and labels by DALI.

Axes: d h w, the arrays' own. Grids share their outer edges: output voxel i is centred at
(i + 0.5) x old size / new size - 0.5, edges held, as in skimage's resize, which nnU-Net uses.
A coarse axis is resampled by nearest neighbour, apart from the plane of the other two.
"""

from __future__ import annotations

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
    mode = _mode(voxels_dhw.shape, shape, coarse_axis)
    pipeline = _image_pipeline(dali.device_id(), mode)
    # Held here until the pipeline has run: it reads the array in place.
    voxels_dhwc = np.ascontiguousarray(voxels_dhw, np.float32)[..., None]
    pipeline.feed_input("voxels", [voxels_dhwc])
    for name, value in (
        ("low", clip[0]),
        ("high", clip[1]),
        ("subtracted", subtracted),
        ("divisor", divisor),
    ):
        pipeline.feed_input(name, [np.float32(value)])
    _feed_sizes(pipeline, mode, voxels_dhw.shape, shape, coarse_axis)
    return _output(pipeline)


def label(label_dhw: NDArray[np.int8], shape: Zyx, coarse_axis: int | None) -> NDArray[np.int8]:
    """A label resampled to ``shape`` with `LABEL_KERNEL`; what no class claims is background 0."""
    mode = _mode(label_dhw.shape, shape, coarse_axis)
    if mode == "same":
        return np.ascontiguousarray(label_dhw)
    label_dhw = np.ascontiguousarray(label_dhw)
    resampled = np.zeros(shape, np.int8)
    values = [int(v) for v in np.unique(label_dhw)]
    pipeline = _label_pipeline(dali.device_id(), mode)
    for value in values:
        # Everything starts as background, which only has something to win back from a -1 before it.
        if value == 0 and values[0] == 0:
            continue
        one_class_dhwc = (label_dhw == value).view(np.uint8)[..., None]
        pipeline.feed_input("voxels", [one_class_dhwc])
        _feed_sizes(pipeline, mode, label_dhw.shape, shape, coarse_axis)
        resampled[_output(pipeline).astype(bool)] = value
    return resampled


def logits_planes(
    logits_kdhw: torch.Tensor, shape: Zyx, coarse_axis: int | None, start: int, stop: int
) -> torch.Tensor:
    """Planes [start, stop) along d of the logits resampled linearly to ``shape``; float32, on their device.

    The same grid and weights as DALI's linear resize, but plane by plane and where the logits are.
    """
    if _mode(logits_kdhw.shape[1:], shape, coarse_axis) == "same":
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


def _mode(old: Any, new: Zyx, coarse_axis: int | None) -> str:
    if tuple(old) == tuple(new):
        return "same"
    return "whole" if coarse_axis is None else "apart"


def _feed_sizes(pipeline: Any, mode: str, old: Any, new: Zyx, coarse_axis: int | None) -> None:
    """Mode "apart" resizes twice: within the slices, then across them."""
    if mode == "same":
        return
    if mode == "apart":
        assert coarse_axis is not None
        in_slices = np.array(new, np.float32)
        in_slices[coarse_axis] = old[coarse_axis]
        pipeline.feed_input("in_slices", [in_slices])
    pipeline.feed_input("size", [np.array(new, np.float32)])


def _output(pipeline: Any) -> NDArray:
    (output,) = pipeline.run()
    return np.array(output.as_cpu().at(0)[..., 0])


def _voxels(device: int | None, dtype: Any) -> Any:
    """The input of a pipeline: one channel as DHWC with C = 1, read in place on the CPU."""
    voxels = dali.modules().fn.external_source(
        name="voxels", layout="DHWC", dtype=dtype, ndim=4, no_copy=device is None
    )
    return voxels if device is None else voxels.gpu()


def _resized(voxels: Any, mode: str, kernel: Any) -> Any:
    fn, types = dali.modules().fn, dali.modules().types
    if mode == "same":
        return voxels
    options = {"dtype": types.FLOAT, "antialias": False}
    size = fn.external_source(name="size", dtype=types.FLOAT, ndim=1)
    if mode == "whole":
        return fn.resize(voxels, size=size, interp_type=kernel, **options)
    in_slices = fn.external_source(name="in_slices", dtype=types.FLOAT, ndim=1)
    voxels = fn.resize(voxels, size=in_slices, interp_type=kernel, **options)
    return fn.resize(voxels, size=size, interp_type=types.INTERP_NN, **options)


@cache
def _image_pipeline(device: int | None, mode: str) -> Any:
    """clip -> (v - subtracted) / divisor -> resize, for one channel as DHWC with C = 1."""
    fn, types = dali.modules().fn, dali.modules().types

    @dali.modules().pipeline_def(**dali.one_at_a_time(device))
    def graph() -> Any:
        voxels = _voxels(device, types.FLOAT)
        scalars = [
            fn.external_source(name=name, dtype=types.FLOAT, ndim=0)
            for name in ("low", "high", "subtracted", "divisor")
        ]
        if device is not None:
            scalars = [scalar.gpu() for scalar in scalars]
        low, high, subtracted, divisor = scalars
        clipped = dali.modules().math.clamp(voxels, low, high)
        return _resized((clipped - subtracted) / divisor, mode, types.INTERP_CUBIC)

    pipeline = graph()
    pipeline.build()
    return pipeline


@cache
def _label_pipeline(device: int | None, mode: str) -> Any:
    """One class's 0/1 voxels -> linear resize -> 1 where >= 0.5."""
    fn, types = dali.modules().fn, dali.modules().types

    @dali.modules().pipeline_def(**dali.one_at_a_time(device))
    def graph() -> Any:
        voxels = _voxels(device, types.UINT8)
        return fn.cast(_resized(voxels, mode, types.INTERP_LINEAR) >= 0.5, dtype=types.UINT8)

    pipeline = graph()
    pipeline.build()
    return pipeline

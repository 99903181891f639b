"""One case to arrays and back: crop, normalise, resample (recipe.md, section 2).

Training and inference share it: a prediction is made on exactly what training saw.

Axes: z y x are the image's own; d h w the arrays', which are the image's in the order of the plan's transpose
(array axis i is image axis transpose[i]); c channel, k class. The arithmetic and the resampling are DALI's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import NDArray

from . import resampling
from .contract import Mm, ModelFolder, Normalisation, Plan, Zyx, frozen
from .errors import StageError
from .volumes.fingerprint import Box, nonzero_box
from .volumes.nifti_header import MAX_VOXELS

_ANISOTROPY = 3.0


@frozen
class Preparation:
    """What decides a case's arrays. spacing_mm_zyx: the target, in the image's own axes."""

    transpose: Zyx
    spacing_mm_zyx: Mm
    normalisation: list[Normalisation]

    @classmethod
    def of(cls, document: Plan | ModelFolder) -> Preparation:
        return cls(
            transpose=document.transpose,
            spacing_mm_zyx=document.spacing_mm_zyx,
            normalisation=document.normalisation,
        )

    @property
    def masked(self) -> bool:
        return any(n.masked for n in self.normalisation)


@frozen
class Geometry:
    """What was done to a case's grid, so that it can be undone. All but shape_zyx in array axes.

    box_dhw: half-open [start, stop) of the crop; coarse_axis: the array axis resampled by nearest neighbour.
    """

    shape_zyx: Zyx
    transpose: Zyx
    box_dhw: Box
    cropped_shape_dhw: Zyx
    spacing_mm_dhw: Mm
    target_spacing_mm_dhw: Mm
    shape_dhw: Zyx
    coarse_axis: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """image_cdhw: float32; label_dhw: int8, -1 outside the nonzero mask where the z-score is masked."""

    image_cdhw: NDArray[np.float32]
    label_dhw: NDArray[np.int8] | None
    geometry: Geometry


def prepare(
    image_czyx: NDArray | Sequence[NDArray],
    spacing_mm_zyx: Mm,
    preparation: Preparation,
    *,
    label_zyx: NDArray | None = None,
    box_zyx: Box | None = None,
) -> Prepared:
    """Crop to the nonzero box, normalise, resample, in nnU-Net's order.

    nnU-Net resamples images with a prefiltered cubic B-spline, which DALI has not: this is its cubic
    convolution (`resampling.IMAGE_KERNEL`), which interpolates the same samples and overshoots less.

    Args:
        image_czyx: one array a channel.
        label_zyx: whole numbers below 127.
        box_zyx: the box of nonzero voxels where it is known (a case record's); looked for otherwise.

    Raises:
        StageError: ArraysTooLarge, before they are made.
    """
    channels = [channel.transpose(preparation.transpose) for channel in image_czyx]
    spacing_dhw = _ordered(spacing_mm_zyx, preparation.transpose)
    target_dhw = _ordered(preparation.spacing_mm_zyx, preparation.transpose)
    box = _ordered(box_zyx or nonzero_box(list(image_czyx)), preparation.transpose)
    window = tuple(slice(start, stop) for start, stop in box)
    cropped_shape = tuple(stop - start for start, stop in box)
    z, y, x = image_czyx[0].shape
    geometry = Geometry(
        shape_zyx=(int(z), int(y), int(x)),
        transpose=preparation.transpose,
        box_dhw=box,
        cropped_shape_dhw=cropped_shape,
        spacing_mm_dhw=spacing_dhw,
        target_spacing_mm_dhw=target_dhw,
        shape_dhw=new_shape(cropped_shape, spacing_dhw, target_dhw),
        coarse_axis=coarse_axis(spacing_dhw, target_dhw),
    )
    _check_size(geometry)
    cropped = [channel[window] for channel in channels]
    mask_dhw = nonzero_mask(cropped) if preparation.masked else None

    image_cdhw = np.empty((len(cropped), *geometry.shape_dhw), np.float32)
    for channel, (voxels, how) in enumerate(zip(cropped, preparation.normalisation, strict=True)):
        low, high, subtracted, divisor = _affine_of(how, voxels, mask_dhw)
        if how.masked and mask_dhw is not None:  # what is subtracted from itself stays at 0
            voxels = np.where(mask_dhw, voxels, np.float32(subtracted))
        image_cdhw[channel] = resampling.normalised_image(
            voxels,
            clip=(low, high),
            subtracted=subtracted,
            divisor=divisor,
            shape=geometry.shape_dhw,
            coarse_axis=geometry.coarse_axis,
        )
    label_dhw = None
    if label_zyx is not None:
        label = label_zyx.transpose(preparation.transpose)[window].astype(np.int8)
        if mask_dhw is not None:
            label[(label == 0) & ~mask_dhw] = -1
        label_dhw = resampling.label(label, geometry.shape_dhw, geometry.coarse_axis)
    return Prepared(image_cdhw=image_cdhw, label_dhw=label_dhw, geometry=geometry)


def restore(logits_kdhw: torch.Tensor, geometry: Geometry) -> NDArray[np.uint8]:
    """Undoes `prepare` for a prediction: logits in the arrays' grid to a mask in the image's own.

    Logits are resampled linearly (nearest along a coarse axis), argmax is taken there, the mask is pasted
    into zeros of the full shape and the transpose undone (recipe.md, section 5). Slab by slab along the first
    axis, on the logits' device: logits of full size never exist at once.

    Returns:
        mask_zyx, uint8, C-contiguous.
    """
    mask_dhw = np.zeros(_ordered(geometry.shape_zyx, geometry.transpose), np.uint8)
    inside = mask_dhw[tuple(slice(start, stop) for start, stop in geometry.box_dhw)]
    depth = geometry.cropped_shape_dhw[0]
    # 64 MiB of logits a slab.
    voxels_a_plane = int(np.prod(geometry.cropped_shape_dhw[1:]))
    planes = max(1, (16 << 20) // (logits_kdhw.shape[0] * voxels_a_plane))
    for start in range(0, depth, planes):
        stop = min(start + planes, depth)
        slab_kdhw = resampling.logits_planes(
            logits_kdhw, geometry.cropped_shape_dhw, geometry.coarse_axis, start, stop
        )
        inside[start:stop] = slab_kdhw.argmax(0).to(torch.uint8).cpu().numpy()
    back = np.argsort(geometry.transpose)
    return np.ascontiguousarray(mask_dhw.transpose(back))


def nonzero_mask(channels: Sequence[NDArray]) -> NDArray[np.bool_]:
    """Where any channel is nonzero, with holes filled: zeros that no path of zeros joins to the border."""
    zero = np.ones(channels[0].shape, bool)
    for channel in channels:
        zero &= channel == 0
    faces = [zero[0], zero[-1], zero[:, 0], zero[:, -1], zero[:, :, 0], zero[:, :, -1]]
    if not any(face.any() for face in faces):
        return np.ones(zero.shape, bool)
    parts, count = scipy.ndimage.label(zero)
    outside = np.zeros(count + 1, bool)
    for face in (parts[0], parts[-1], parts[:, 0], parts[:, -1], parts[:, :, 0], parts[:, :, -1]):
        outside[np.unique(face)] = True
    outside[0] = False
    return ~outside[parts]


def _check_size(geometry: Geometry) -> None:
    voxels = math.prod(geometry.shape_dhw)
    if voxels <= MAX_VOXELS:
        return
    was, target = (
        " x ".join(f"{mm:.3g}" for mm in s) for s in (geometry.spacing_mm_dhw, geometry.target_spacing_mm_dhw)
    )
    raise StageError(
        "ArraysTooLarge",
        f"At the plan's spacing of {target} mm a case of {was} mm would have {voxels} voxels.",
        "Correct the case's voxel size if it is wrong, leave the case out, or set plan.spacingMm.",
        got=f"{voxels} voxels",
        allowed=f"at most {MAX_VOXELS}",
    )


def new_shape(shape: Zyx, spacing_mm: Mm, target_mm: Mm) -> Zyx:
    """round(size x spacing / target spacing), at least 1."""
    d, h, w = (max(1, round(n * s / t)) for n, s, t in zip(shape, spacing_mm, target_mm, strict=True))
    return d, h, w


def coarse_axis(spacing_mm: Mm, target_mm: Mm) -> int | None:
    """The axis to keep apart when resampling: the coarsest of a spacing with a ratio above 3.

    The current spacing decides, otherwise the target's. None where there is none, or where two axes are
    equally coarse (recipe.md, section 2, separate-z mode).
    """
    for spacing in (spacing_mm, target_mm):
        if max(spacing) / min(spacing) > _ANISOTROPY:
            coarsest = [axis for axis in range(3) if spacing[axis] == max(spacing)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def foreground_locations(label_dhw: NDArray[np.int8], classes: int) -> dict[str, NDArray[np.int32]]:
    """For each class present, voxels (d, h, w) of it to centre patches on.

    min(10,000, all) of them, but at least 1 % (recipe.md, section 2), drawn without replacement, seed 1234.
    """
    rng = np.random.default_rng(1234)
    found = {}
    for value in range(1, classes):
        where = np.flatnonzero(label_dhw == value)
        if len(where):
            count = max(min(10_000, len(where)), -(-len(where) // 100))
            chosen = np.sort(rng.choice(where, count, replace=False))
            found[str(value)] = np.stack(np.unravel_index(chosen, label_dhw.shape), 1).astype(np.int32)
    return found


def _ordered(values: Any, transpose: Zyx) -> Any:
    return tuple(values[axis] for axis in transpose)


def _unit_range(voxels: NDArray) -> tuple[float, float]:
    low, high = float(voxels.min()), float(voxels.max())
    return low, max(high - low, 1e-8)


def _affine_of(
    how: Normalisation, voxels: NDArray, mask: NDArray | None
) -> tuple[float, float, float, float]:
    """(clip low, clip high, subtracted, divisor) of a normalisation for one channel of one case.

    The moments are summed in float64 here rather than reduced in float32 by DALI, whose CPU and GPU sums
    differ in the last digits: arrays made on either must be interchangeable.
    """
    unlimited = float(np.finfo(np.float32).max)
    if how.scheme == "ct":
        assert how.clip_low is not None and how.clip_high is not None
        assert how.mean is not None and how.std is not None
        return how.clip_low, how.clip_high, how.mean, max(how.std, 1e-8)
    if how.scheme == "zscore":
        mean, std = _moments(voxels, mask if how.masked else None)
        return -unlimited, unlimited, mean, max(std, 1e-8)
    if how.scheme == "rescale-0-1":
        return -unlimited, unlimited, *_unit_range(voxels)
    if how.scheme == "rgb-0-1":
        return -unlimited, unlimited, 0.0, 255.0
    return -unlimited, unlimited, 0.0, 1.0


def _moments(voxels: NDArray, mask: NDArray | None) -> tuple[float, float]:
    """Mean and standard deviation over the mask, a plane at a time: float64 without its memory."""
    count, total = 0, 0.0
    planes = [(voxels[i], None if mask is None else mask[i]) for i in range(len(voxels))]
    for plane, where in planes:
        inside = plane if where is None else plane[where]
        count += inside.size
        total += float(inside.sum(dtype=np.float64))
    if count == 0:
        return 0.0, 1.0
    mean = total / count
    squares = 0.0
    for plane, where in planes:
        inside = (plane if where is None else plane[where]).astype(np.float64)
        squares += float(np.square(inside - mean).sum())
    return mean, float(np.sqrt(squares / count))

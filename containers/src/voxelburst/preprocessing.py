"""One case to arrays and back: crop, normalise, resample (recipe.md, section 2).

Training and inference share it: a prediction is made on exactly what training saw.

Axes: z y x are the image's own; d h w the arrays', which are the image's in the order of the plan's transpose
(array axis i is image axis transpose[i]); c channel, k class. PyTorch computes, on a GPU or the CPU.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import resampling
from .contract import Mm, ModelFolder, Normalisation, Plan, Zyx, frozen
from .errors import StageError
from .volumes.fingerprint import Box, nonzero_box
from .volumes.nifti_header import MAX_VOXELS

_ANISOTROPY = 3.0
_CPU = torch.device("cpu")
# Logits of a slab at once, resampled.
_SLAB_BYTES_CPU, _SLAB_BYTES_GPU = 64 << 20, 2 << 30
_MOMENTS_AT_ONCE = 1 << 24


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
    """image_cdhw: float32; label_dhw: int8, -1 outside the nonzero mask where the z-score is masked.

    Both on the device that `prepare` was told.
    """

    image_cdhw: torch.Tensor
    label_dhw: torch.Tensor | None
    geometry: Geometry


def prepare(
    image_czyx: NDArray | Sequence[NDArray],
    spacing_mm_zyx: Mm,
    preparation: Preparation,
    *,
    label_zyx: NDArray | None = None,
    box_zyx: Box | None = None,
    where: torch.device = _CPU,
) -> Prepared:
    """Crop to the nonzero box, normalise, resample, in nnU-Net's order and with its kernels.

    Args:
        image_czyx: one array a channel.
        label_zyx: whole numbers below 127.
        box_zyx: the box of nonzero voxels where it is known (a case record's); looked for otherwise.
        where: what computes. On a GPU the current stream, which is not waited for.

    Raises:
        StageError: ArraysTooLarge, before they are made.
    """
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
    mask_dhw = None
    if preparation.masked:
        mask_dhw = nonzero_mask([channel.transpose(preparation.transpose)[window] for channel in image_czyx])
    image_cdhw = torch.empty((len(image_czyx), *geometry.shape_dhw), dtype=torch.float32, device=where)
    mask = None if mask_dhw is None else torch.from_numpy(mask_dhw).to(where)
    for channel, (voxels_zyx, how) in enumerate(zip(image_czyx, preparation.normalisation, strict=True)):
        # Sent as it is stored, often in half the bytes, and cut and turned there.
        stored_dhw = torch.from_numpy(_copyable(voxels_zyx)).to(where).permute(preparation.transpose)[window]
        volume_dhw = stored_dhw.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        normalised = _normalised(volume_dhw, how, mask)
        image_cdhw[channel] = resampling.image(normalised, geometry.shape_dhw, geometry.coarse_axis)
    label_dhw = None
    if label_zyx is not None:
        label = label_zyx.transpose(preparation.transpose)[window].astype(np.int8)
        if mask_dhw is not None:
            label[(label == 0) & ~mask_dhw] = -1
        given = torch.from_numpy(np.ascontiguousarray(label)).to(where)
        label_dhw = resampling.label(given, geometry.shape_dhw, geometry.coarse_axis)
    return Prepared(image_cdhw=image_cdhw, label_dhw=label_dhw, geometry=geometry)


def restore(logits_kdhw: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Undoes `prepare` for a prediction: logits in the arrays' grid to a mask in the image's own.

    Logits are resampled linearly (nearest along a coarse axis), argmax is taken there, the mask is pasted
    into zeros of the full shape and the transpose undone (recipe.md, section 5). Slab by slab along the first
    axis, on the logits' device: logits of full size never exist at once.

    Returns:
        mask_zyx, uint8, contiguous, on the logits' device; a GPU is not waited for.
    """
    full = _ordered(geometry.shape_zyx, geometry.transpose)
    mask_dhw = torch.zeros(full, dtype=torch.uint8, device=logits_kdhw.device)
    inside = mask_dhw[tuple(slice(start, stop) for start, stop in geometry.box_dhw)]
    depth = geometry.cropped_shape_dhw[0]
    voxels_a_plane = int(np.prod(geometry.cropped_shape_dhw[1:]))
    slab_bytes = _SLAB_BYTES_GPU if logits_kdhw.is_cuda else _SLAB_BYTES_CPU
    planes = max(1, slab_bytes // (4 * logits_kdhw.shape[0] * voxels_a_plane))
    for start in range(0, depth, planes):
        stop = min(start + planes, depth)
        slab_kdhw = resampling.logits_planes(
            logits_kdhw, geometry.cropped_shape_dhw, geometry.coarse_axis, start, stop
        )
        inside[start:stop] = slab_kdhw.argmax(0)
    back = [geometry.transpose.index(axis) for axis in range(3)]
    return mask_dhw.permute(back).contiguous()


def nonzero_mask(channels: Sequence[NDArray]) -> NDArray[np.bool_]:
    """Where any channel is nonzero, with holes filled: zeros that no path of zeros joins to the border."""
    zero = np.ones(channels[0].shape, bool)
    for channel in channels:
        zero &= channel == 0
    faces = [zero[0], zero[-1], zero[:, 0], zero[:, -1], zero[:, :, 0], zero[:, :, -1]]
    if not any(face.any() for face in faces):
        return np.ones(zero.shape, bool)
    import scipy.ndimage  # slow to import, and a volume without a border of zeros has ended above

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


def _copyable(voxels: NDArray) -> NDArray:
    """Contiguous, and of a type that torch has: not big-endian, no unsigned integer of more than a byte."""
    wider = {"u2": np.int32, "u4": np.float32, "i8": np.float32, "u8": np.float32, "f8": np.float32}
    return np.ascontiguousarray(voxels, wider.get(voxels.dtype.str[1:], voxels.dtype.newbyteorder("=")))


def _normalised(volume_dhw: torch.Tensor, how: Normalisation, mask: torch.Tensor | None) -> torch.Tensor:
    """The volume, in place, as its channel's normalisation says; what a mask leaves out becomes 0.

    Moments are summed in float64: those of a CPU and of a GPU then agree beyond float32, so that arrays made
    on either are interchangeable.
    """
    if how.scheme == "ct":
        assert how.clip_low is not None and how.clip_high is not None
        assert how.mean is not None and how.std is not None
        return volume_dhw.clamp_(how.clip_low, how.clip_high).sub_(how.mean).div_(max(how.std, 1e-8))
    if how.scheme == "zscore":
        if not how.masked or mask is None:
            mean, std = _moments(volume_dhw)
            return volume_dhw.sub_(mean).div_(std)
        mean, std = _moments(volume_dhw[mask])
        return volume_dhw.sub_(mean).div_(std).masked_fill_(~mask, 0.0)
    if how.scheme == "rescale-0-1":
        low, high = volume_dhw.min(), volume_dhw.max()
        return volume_dhw.sub_(low).div_((high - low).clamp(min=1e-8))
    if how.scheme == "rgb-0-1":
        return volume_dhw.div_(255.0)
    return volume_dhw


def _moments(voxels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (floored), float32: their sums in float64, without a copy in it."""
    if voxels.numel() == 0:
        return voxels.new_zeros(()), voxels.new_ones(())
    mean = voxels.sum(dtype=torch.float64) / voxels.numel()
    flat = voxels.reshape(-1)
    squares = voxels.new_zeros((), dtype=torch.float64)
    for part in flat.split(_MOMENTS_AT_ONCE):
        squares += (part.double() - mean).square_().sum()
    std = (squares / voxels.numel()).sqrt().clamp(min=1e-8)
    return mean.float(), std.float()

"""What an image and its label must be before anything is trained on them (bad-inputs 28, 29, 35 to 38)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..contract import Label, Warning
from . import geometry
from .refusal import Refusal
from .volume import Volume

# Labels that went through a float and back are off by far less; a partial-volume label by far more.
_FRACTION_TOLERANCE = 1e-3
# From a micro-CT's voxel to a slice that holds half a head: beyond, lengths are in another unit or damaged,
# and resampled to the other cases' spacing such a case would have any number of voxels.
_LEAST_MM, _MOST_MM = 0.005, 100.0


def check_image(volume: Volume) -> None:
    """Refuses what no scanner gives: SpacingImplausible, NonFiniteVoxels, ConstantImage (one value)."""
    voxels_zyx = volume.voxels_zyx
    spacing_xyz = geometry.spacing_xyz(volume.affine)
    if not all(_LEAST_MM <= mm <= _MOST_MM for mm in spacing_xyz):
        raise Refusal(
            "SpacingImplausible",
            "The image's voxels are of a size that no scanner of patients gives.",
            "Correct the voxel size; it must be in millimetres.",
            got=" x ".join(f"{mm:.4g}" for mm in spacing_xyz) + " mm",
            allowed=f"{_LEAST_MM:g} to {_MOST_MM:g} mm",
        )
    if voxels_zyx.dtype.kind == "f":
        bad = sum(int(np.count_nonzero(~np.isfinite(slice_yx))) for slice_yx in voxels_zyx)
        if bad:
            raise Refusal(
                "NonFiniteVoxels",
                f"{bad} of {voxels_zyx.size} voxels are NaN or infinite.",
                "Replace them with the intensity of the background and save the image again.",
                got=f"{bad} voxels that are no numbers",
                allowed="finite intensities",
            )
    low, high = voxels_zyx.min(), voxels_zyx.max()
    if low == high:
        raise Refusal(
            "ConstantImage",
            "Every voxel of the image has the same value.",
            "Check the export; remove the case if the image is really empty.",
            got=f"{low:g} everywhere",
            allowed="at least two intensities",
        )


def check_same_grid(image: Volume, other: Volume, what: str) -> None:
    """Refuses a label or a channel (``what``: "Label", "Channel") that lies on another grid than the image.

    Raises:
        Refusal: <what>ShapeDiffers, <what>SpacingDiffers, <what>GeometryDiffers (more than 0.01 voxel apart
            at a corner).
    """
    name = what.lower()
    if image.shape_xyz != other.shape_xyz:
        raise Refusal(
            f"{what}ShapeDiffers",
            f"The {name} has another shape than the image.",
            f"Give the {name} that belongs to the image, on the image's grid.",
            got=" x ".join(map(str, other.shape_xyz)),
            allowed=" x ".join(map(str, image.shape_xyz)),
        )
    ours, theirs = (geometry.spacing_xyz(v.affine) for v in (image, other))
    shift = geometry.corner_shift_voxels(image.affine, other.affine, image.shape_xyz)
    if shift <= geometry.TOLERANCE_VOXELS:
        return
    # Spacing that moves a corner by itself is named as such: it is another mistake than a moved origin.
    if any(
        abs(a - b) * (n - 1) > geometry.TOLERANCE_VOXELS * a
        for a, b, n in zip(ours, theirs, image.shape_xyz, strict=True)
    ):
        raise Refusal(
            f"{what}SpacingDiffers",
            f"The {name} has another voxel size than the image.",
            f"Resample the {name} onto the image's grid, or give the one that belongs to it.",
            got=" x ".join(f"{v:.6g}" for v in theirs) + " mm",
            allowed=" x ".join(f"{v:.6g}" for v in ours) + " mm",
        )
    raise Refusal(
        f"{what}GeometryDiffers",
        f"The {name} lies elsewhere in the world than the image: their affines differ.",
        f"Copy the image's affine if the voxels match, or resample the {name} onto the image's grid.",
        got=f"{shift:.3g} voxels apart at a corner",
        allowed=f"at most {geometry.TOLERANCE_VOXELS} voxels",
    )


def check_label(
    label: Volume, labels: list[Label]
) -> tuple[NDArray[np.uint8], dict[str, int], list[Warning]]:
    """The label as uint8, voxels by value (every declared value), and a warning when there is no foreground.

    Raises:
        Refusal: NonFiniteVoxels, LabelFractional, LabelValueUnknown.
    """
    voxels_zyx = label.voxels_zyx
    known = [entry.value for entry in labels]
    allowed = ", ".join(map(str, known))
    if voxels_zyx.dtype.kind == "f":
        fractions = bad = 0
        for slice_yx in voxels_zyx:
            finite = np.isfinite(slice_yx)
            bad += slice_yx.size - int(np.count_nonzero(finite))
            off = np.abs(slice_yx - np.rint(slice_yx)) > _FRACTION_TOLERANCE
            fractions += int(np.count_nonzero(off & finite))
        if bad:
            raise Refusal(
                "NonFiniteVoxels",
                f"{bad} voxels of the label are NaN or infinite.",
                "Save the label again with whole numbers.",
                got=f"{bad} voxels that are no numbers",
                allowed=allowed,
            )
        if fractions:
            raise Refusal(
                "LabelFractional",
                f"{fractions} voxels of the label lie between whole numbers.",
                "Resample labels with nearest-neighbour interpolation, or threshold the probabilities.",
                got=f"{fractions} fractional values",
                allowed=allowed,
            )
        voxels_zyx = np.rint(voxels_zyx)
    values, counts = _count(voxels_zyx)
    strangers = [v for v in values if v not in known]
    if strangers:
        shown = ", ".join(map(str, strangers[:8])) + (", ..." if len(strangers) > 8 else "")
        raise Refusal(
            "LabelValueUnknown",
            f"The label has values that the dataset does not declare: {shown}.",
            "Add the values to `labels` in dataset.json, or map them in the label.",
            got=shown,
            allowed=allowed,
        )
    voxels = {str(v): 0 for v in known} | {str(v): n for v, n in zip(values, counts, strict=True)}
    warnings = []
    if all(n == 0 for value, n in voxels.items() if value != "0"):
        warnings.append(
            Warning(code="EmptyForeground", message="The label has no foreground, only background.")
        )
    return voxels_zyx.astype(np.uint8, copy=False), voxels, warnings


def _count(voxels_zyx: NDArray) -> tuple[list[int], list[int]]:
    """Values and how often each occurs, ascending."""
    if voxels_zyx.dtype == np.uint8:
        counts = sum(np.bincount(slice_yx.ravel(), minlength=256) for slice_yx in voxels_zyx)
        values = np.flatnonzero(counts)
        return values.tolist(), counts[values].tolist()  # type: ignore[index]
    totals: dict[int, int] = {}
    for slice_yx in voxels_zyx:
        values, counts = np.unique(slice_yx, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            totals[int(value)] = totals.get(int(value), 0) + count
    return sorted(totals), [totals[v] for v in sorted(totals)]

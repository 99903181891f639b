"""Whether slices make a volume, and where it lies: positions in, an affine out (bad-inputs 2 to 10).

Everything is measured along the slices' common normal. Jitter that rounding explains is let through; a tilt,
a gap or two slices at one place is not, because a grid cannot hold it.

Legend: ``positions`` are (slices, 3) in millimetres, LPS; ``along`` is a slice's coordinate on the normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..volumes.geometry import Affine
from ..volumes.refusal import Refusal

Vector = NDArray[np.float64]

# Of the median distance: bad-inputs row 4.
_TOLERANCE_DISTANCE = 0.02
# What rounding of the positions may explain, at most, of the distance.
_TOLERANCE_ROUNDING = 0.05
# Two slices closer than this share of the pixel spacing lie at one place.
_SAME_PLACE = 1e-2
# Sideways drift: a shear of a volume's axes (as volumes.geometry allows), and a share of a pixel.
_TOLERANCE_SHEAR = 1e-3
_TOLERANCE_PIXEL = 0.25
# Direction cosines are written with as few as four digits.
_TOLERANCE_COSINE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Grid:
    """order: of the slices along the normal. affine: voxel (x, y, z) to world, RAS."""

    order: list[int]
    affine: Affine


def majority_orientation(axes: Vector) -> list[int]:
    """The slices of the commonest orientation, in their order.

    Args:
        axes: row and column unit vectors, (slices, 6).

    Up to three others (a localizer under the volume's UID) are left out; more of them are refused.

    Raises:
        Refusal: SliceOrientationsDiffer.
    """
    groups: list[list[int]] = []
    for index, axis in enumerate(axes):
        for group in groups:
            if np.abs(axes[group[0]] - axis).max() <= _TOLERANCE_COSINE:
                group.append(index)
                break
        else:
            groups.append([index])
    kept = max(groups, key=len)
    others = len(axes) - len(kept)
    if others and (others > 3 or len(kept) < 3 * others):
        raise Refusal(
            "SliceOrientationsDiffer",
            "The series' slices do not all face the same way.",
            "Give one series a folder; localizers and reformats are series of their own.",
            got=f"{len(kept)} slices of one orientation and {others} of another",
            allowed="one orientation",
        )
    return kept


def along_normal(positions: Vector, row: Vector, column: Vector) -> Vector:
    """Coordinates of the slices on their common normal, millimetres."""
    return positions @ np.cross(row, column)


def groups_at_one_place(along: Vector, pixel_mm: float) -> list[list[int]]:
    """Indices of slices that lie at the same place, groups in order along the normal."""
    order = np.argsort(along, kind="stable")
    groups: list[list[int]] = []
    for index in order.tolist():
        if groups and along[index] - along[groups[-1][0]] <= _SAME_PLACE * pixel_mm:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def stack(
    positions: Vector, row: Vector, column: Vector, spacing: tuple[float, float], quantum: float
) -> Grid:
    """Orders slices that lie at different places and gives the volume's affine.

    Args:
        positions: (slices, 3), millimetres, LPS, in any order.
        row, column: unit vectors of increasing column and row index, LPS.
        spacing: millimetres between rows and between columns.
        quantum: what rounding may have moved a position by, millimetres.

    Raises:
        Refusal: GantryTilt, SlicePositionsScattered, SlicesMissing, SliceSpacingUneven.
    """
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    placed, along = positions[order], along[order]
    # From the first slice to the last, as dicom2nifti and ITK do: a label drawn on their conversion fits.
    step = (placed[-1] - placed[0]) / max(len(placed) - 1, 1)
    distance = float(step @ normal)
    _check_sideways(placed, along, normal, spacing)
    _check_distances(along, quantum)

    sideways = step - distance * normal
    if np.linalg.norm(sideways) > _TOLERANCE_SHEAR * distance:
        step = distance * normal  # jitter of few slices: not worth a shear
    affine = np.eye(4)
    affine[:3, 0] = row * spacing[1]
    affine[:3, 1] = column * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = placed[0]
    affine[:2] *= -1  # LPS to RAS
    return Grid(order=order.tolist(), affine=affine)


def _check_sideways(placed: Vector, along: Vector, normal: Vector, spacing: tuple[float, float]) -> None:
    """Slices must lie above one another: no tilt of the gantry, no slice moved aside."""
    sideways = placed - np.outer(along, normal)
    sideways -= sideways.mean(axis=0)
    centred = along - along.mean()
    shear = (centred @ sideways) / (centred @ centred)
    pixel = min(spacing)
    length = float(along[-1] - along[0])
    slope = float(np.linalg.norm(shear))
    drift = slope * length
    rest = float(np.linalg.norm(sideways - np.outer(centred, shear), axis=1).max())
    # A tilt moves every slice in proportion; what a straight line does not explain was moved by itself.
    if rest > max(_TOLERANCE_PIXEL * pixel, _TOLERANCE_SHEAR * length) and rest > drift / 4:
        raise Refusal(
            "SlicePositionsScattered",
            "A slice is shifted sideways against the others.",
            "Resample the series onto one grid, or remove the slices of another reconstruction.",
            got=f"{rest:.3g} mm aside",
            allowed=f"at most {_TOLERANCE_PIXEL} pixels ({_TOLERANCE_PIXEL * pixel:.3g} mm)",
        )
    if slope > _TOLERANCE_SHEAR and drift > _TOLERANCE_PIXEL * pixel:
        gaps = np.diff(along)
        uneven = np.abs(gaps / np.median(gaps) - 1).max() > _TOLERANCE_DISTANCE
        also = f"; distances from {gaps.min():.4g} to {gaps.max():.4g} mm" if uneven else ""
        raise Refusal(
            "GantryTilt",
            "The slices are not stacked along their normal: the gantry was tilted.",
            "Resample the series onto a straight grid, or acquire it without tilt.",
            got=f"{np.degrees(np.arctan(slope)):.2f} degrees{also}",
            allowed=f"at most {np.degrees(np.arctan(_TOLERANCE_SHEAR)):.2f} degrees",
        )


def _check_distances(along: Vector, quantum: float) -> None:
    """Slices must be equally far apart, within 2 % of the median distance or what rounding explains."""
    gaps = np.diff(along)
    median = float(np.median(gaps))
    if np.abs(gaps - median).max() <= _TOLERANCE_DISTANCE * median:
        return
    index = np.arange(len(along))
    step, start = np.polyfit(index, along, 1)
    off_grid = float(np.abs(along - (start + step * index)).max())
    # 1.5: the straight line of least squares is not the one that all roundings are closest to.
    if off_grid <= min(quantum * 1.5, _TOLERANCE_ROUNDING * step):
        return
    # A distance near a whole multiple of the smallest is a slice that was lost, not an uneven acquisition.
    unit = float(np.median(gaps[gaps <= 1.5 * gaps.min()]))
    multiples = np.rint(gaps / unit)
    lost = int((multiples - 1).sum())
    if lost and np.abs(gaps - multiples * unit).max() <= _TOLERANCE_DISTANCE * unit * max(multiples.max(), 1):
        raise Refusal(
            "SlicesMissing",
            f"The series has a gap: {lost} of {len(along) + lost} slices are missing.",
            "Export the whole series again.",
            got=f"{len(along)} slices, distances from {gaps.min():.4g} to {gaps.max():.4g} mm",
            allowed=f"{len(along) + lost} slices, {unit:.4g} mm apart",
        )
    raise Refusal(
        "SliceSpacingUneven",
        "The distance between slices is not the same throughout the series.",
        "Resample the series onto an even grid.",
        got=f"distances from {gaps.min():.4g} to {gaps.max():.4g} mm",
        allowed=f"{median:.4g} mm within {_TOLERANCE_DISTANCE:.0%}",
    )

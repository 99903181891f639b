"""The slices of a series: place, size and scale of each frame, classic or enhanced multi-frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from ..volumes.refusal import Refusal
from .objects import DicomObject


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """One frame.

    position: of the first voxel's centre, millimetres, DICOM's LPS.
    row, column: unit vectors of increasing column and row index (the halves of ImageOrientationPatient).
    spacing: millimetres between rows and between columns.
    quantum: half the last digit that the position was written with, millimetres.
    """

    source: DicomObject
    frame: int
    position: NDArray[np.float64]
    row: NDArray[np.float64]
    column: NDArray[np.float64]
    spacing: tuple[float, float]
    shape: tuple[int, int]
    slope: float
    inter: float
    is_localizer: bool
    quantum: float


def slices_of(source: DicomObject) -> list[Slice]:
    """The frames of an object.

    Raises:
        Refusal: GeometryMissing, DicomAttributeInvalid, AxesNotOrthogonal, ModalityLutUnsupported.

    A VOI LUT or window is for display alone (PS3.3 C.11.2) and rightly left out.
    """
    header = source.header
    if _value(header, "ModalityLUTSequence"):
        raise Refusal(
            "ModalityLutUnsupported",
            "A slice's intensities are defined by a lookup table, which is not applied here.",
            "Export the series with the table applied, or with RescaleSlope and RescaleIntercept instead.",
            got="a ModalityLUTSequence",
            allowed="RescaleSlope and RescaleIntercept, or stored values that are the intensities",
        )
    shape = (_whole(header, "Rows"), _whole(header, "Columns"))
    frames = _whole(header, "NumberOfFrames") if _value(header, "NumberOfFrames") else 1
    shared = _first(header, "SharedFunctionalGroupsSequence")
    per_frame = _value(header, "PerFrameFunctionalGroupsSequence")
    if not per_frame and frames > 1:
        raise _missing("a multi-frame object without functional groups")
    if per_frame and len(per_frame) < frames:
        raise _missing(f"{len(per_frame)} functional groups for {frames} frames")
    found = []
    for frame in range(frames):
        groups = [per_frame[frame]] if per_frame else []
        groups += [shared] if shared is not None else []

        def place(macro: str, groups: list[Dataset] = groups) -> Dataset:
            """Where an attribute is: in the frame's own group, the shared one, or the object itself."""
            return next((item for group in groups if (item := _first(group, macro)) is not None), header)

        position = _numbers(place("PlanePositionSequence"), "ImagePositionPatient", 3)
        axes = _numbers(place("PlaneOrientationSequence"), "ImageOrientationPatient", 6)
        spacing = _numbers(place("PixelMeasuresSequence"), "PixelSpacing", 2)
        scale = place("PixelValueTransformationSequence")
        row, column = np.array(axes[:3]), np.array(axes[3:])
        _check_axes(row, column)
        if min(spacing) <= 0:
            raise _invalid("PixelSpacing", f"{spacing[0]:g} x {spacing[1]:g} mm", "more than 0 mm")
        found.append(
            Slice(
                source=source,
                frame=frame,
                position=np.array(position),
                row=row / np.linalg.norm(row),
                column=column / np.linalg.norm(column),
                spacing=(spacing[0], spacing[1]),
                shape=shape,
                slope=_scale(scale, "RescaleSlope", 1.0),
                inter=_scale(scale, "RescaleIntercept", 0.0),
                is_localizer=source.is_localizer,
                quantum=_quantum(place("PlanePositionSequence")),
            )
        )
    return found


def _first(dataset: Dataset, keyword: str) -> Dataset | None:
    sequence = _value(dataset, keyword)
    return sequence[0] if sequence else None


def _check_axes(row: NDArray[np.float64], column: NDArray[np.float64]) -> None:
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    dot = float(row @ column)
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1)) > 1e-2 or abs(dot) > 1e-3:
        raise Refusal(
            "AxesNotOrthogonal",
            "A slice's orientation is not two perpendicular unit vectors.",
            "Export the series again, or resample it onto a grid with perpendicular axes.",
            got=f"lengths {lengths[0]:.4g} and {lengths[1]:.4g}, cosine {dot:.3g}",
            allowed="lengths of 1 within 0.01, a cosine within 0.001 of 0",
        )


def _numbers(dataset: Dataset, keyword: str, count: int) -> list[float]:
    value = _value(dataset, keyword)
    if value is None or value == "" or (isinstance(value, Sequence) and len(value) == 0):
        raise _missing(f"no {keyword}")
    items = list(value) if isinstance(value, (MultiValue, list, tuple)) else [value]
    try:
        numbers = [float(item) for item in items]
    except (TypeError, ValueError):
        raise _invalid(keyword, "text that is no number", f"{count} numbers") from None
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise _invalid(keyword, f"{len(numbers)} values", f"{count} finite numbers")
    return numbers


def _scale(dataset: Dataset, keyword: str, default: float) -> float:
    value = _value(dataset, keyword)
    if value is None or value == "":
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _invalid(keyword, "text that is no number", "a finite number") from None
    if not np.isfinite(number) or (keyword == "RescaleSlope" and number == 0):
        raise _invalid(keyword, f"{number:g}", "a finite number, not 0 for the slope")
    return number


def _whole(dataset: Dataset, keyword: str) -> int:
    try:
        number = int(_value(dataset, keyword))
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise _invalid(keyword, "no whole number above 0", "a whole number of at least 1")
    return number


def _value(dataset: Dataset, keyword: str) -> Any:
    """An attribute's value; pydicom parses it here, and what it raises says what the value was."""
    try:
        return dataset.get(keyword)
    except (OSError, MemoryError):
        raise
    except Exception:
        raise _invalid(keyword, "a value that breaks its type's rules", "a valid value") from None


def _quantum(dataset: Dataset) -> float:
    """Half of the last digit that the position was written with: what rounding alone can move it by."""
    digits = []
    for item in dataset.get("ImagePositionPatient", []):
        text = str(getattr(item, "original_string", item)).strip().lower()
        mantissa, _, exponent = text.partition("e")
        decimals = len(mantissa.partition(".")[2]) - (int(exponent) if exponent else 0)
        digits.append(decimals)
    return 0.5 * 10.0 ** -max(digits, default=0)


def _missing(got: str) -> Refusal:
    return Refusal(
        "GeometryMissing",
        "The series does not say where its slices lie.",
        "Export it with ImagePositionPatient, ImageOrientationPatient and PixelSpacing on every slice.",
        got=got,
        allowed="position, orientation and pixel spacing of every slice",
    )


def _invalid(keyword: str, got: str, allowed: str) -> Refusal:
    return Refusal(
        "DicomAttributeInvalid",
        f"The attribute {keyword} of a slice cannot be used.",
        f"Correct {keyword}, or export the series again.",
        got=got,
        allowed=allowed,
    )

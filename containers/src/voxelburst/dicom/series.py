"""A folder of DICOM becomes one volume, or is refused with the reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contract import Source, Warning
from ..storage import Store
from ..volumes.nifti_header import MAX_VOXELS
from ..volumes.refusal import Refusal
from ..volumes.volume import Volume, compact
from . import stacking
from .objects import DicomObject, quietly, read_folder
from .pixels import PixelReader
from .slices import Slice, slices_of


@dataclass(frozen=True, kw_only=True)
class Series:
    """patient_id is the header's, for grouping by its hash: it must never be written."""

    volume: Volume
    source: Source
    warnings: list[Warning]
    patient_id: str | None


def read_series(dataset: Store, prefix: str, min_slices: int) -> Series:
    """Reads the one series in a folder, sorted by position along its normal, rescaled slice by slice.

    Args:
        dataset: where the objects are.
        prefix: their folder, ending in a slash.
        min_slices: a series with fewer is refused.

    Returns:
        the volume in the slices' own grid, its affine in RAS; intensities after rescale, as integers where
        the rescale gives integers.

    Raises:
        Refusal: of the case; see the modules of this package for the codes.
    """
    with quietly():
        objects, warnings = _one_series(dataset, prefix)
        slices = [slice_ for item in objects for slice_ in slices_of(item)]
        slices = _without_localizers(slices, warnings)
        first = slices[0]
        _check_alike(slices)
        reader = PixelReader()
        positions = np.array([s.position for s in slices])
        row, column = _mean_axes(slices)
        along = stacking.along_normal(positions, row, column)
        places = stacking.groups_at_one_place(along, min(first.spacing))
        slices = [slices[i] for i in _one_a_place(slices, places, reader, warnings)]
        _check_count(slices, min_slices)
        grid = stacking.stack(
            np.array([s.position for s in slices]),
            row,
            column,
            first.spacing,
            max(s.quantum for s in slices),
        )
        slices = [slices[i] for i in grid.order]
        voxels_zyx = _voxels(slices, reader)
        header = first.source.header
        if str(header.get("LossyImageCompression", "")).strip() == "01":
            warnings.append(
                Warning(code="LossyCompression", message="The series was compressed with loss at some time.")
            )
        patient_id = str(header.get("PatientID") or "").strip() or None
    return Series(
        volume=Volume(voxels_zyx=voxels_zyx, affine=grid.affine),
        source=Source(kind="dicom", slices=len(slices), transfer_syntax=first.source.transfer_syntax.name),
        warnings=warnings,
        patient_id=patient_id,
    )


def _one_series(dataset: Store, prefix: str) -> tuple[list[DicomObject], list[Warning]]:
    folder = read_folder(dataset, prefix)
    series = folder.series
    if len(series) > 1:  # scouts are often exported beside the volume, as a series of their own
        volumes = {
            uid: items for uid, items in series.items() if not all(item.is_localizer for item in items)
        }
        if volumes:
            for uid in series.keys() - volumes.keys():
                folder.skipped["localizer"] += len(series[uid])
            series = volumes
    warnings = []
    if folder.skipped:
        warnings.append(Warning(code="ObjectsSkipped", message=f"Skipped: {folder.skipped_text()}."))
    if not series:
        raise Refusal(
            "NoVolumeInFolder",
            "The folder has no slices of a volume.",
            "Give a folder with one CT, MR or PET series in grey values.",
            got=folder.skipped_text(),
            allowed="grey-value slices of one series",
        )
    if len(series) > 1:
        counts = sorted((len(items) for items in series.values()), reverse=True)
        raise Refusal(
            "SeveralSeries",
            "The folder has several series, and nothing says which one is meant.",
            "Put each series into a folder of its own.",
            got=f"{len(series)} series of {', '.join(map(str, counts[:5]))} files",
            allowed="one series",
        )
    objects = next(iter(series.values()))
    patients = {str(item.header.get("PatientID") or "").strip() for item in objects}
    if len(patients) > 1:
        raise Refusal(
            "SeveralPatients",
            "The slices of the series belong to different patients.",
            "Give the slices of one patient a folder.",
            got=f"{len(patients)} different PatientIDs",
            allowed="one",
        )
    return objects, warnings


def _without_localizers(slices: list[Slice], warnings: list[Warning]) -> list[Slice]:
    """The slices of the volume: localizers under its UID are dropped, by their type or their orientation."""
    kept = [s for s in slices if not s.is_localizer] or slices
    axes = np.array([(*s.row, *s.column) for s in kept])
    facing = stacking.majority_orientation(axes)
    dropped = len(slices) - len(facing)
    if dropped:
        warnings.append(
            Warning(
                code="LocalizerDropped",
                message=f"{dropped} localizer slices under the series' UID were left out.",
            )
        )
    return [kept[i] for i in facing]


def _check_alike(slices: list[Slice]) -> None:
    shapes = sorted({s.shape for s in slices})
    if len(shapes) > 1:
        raise Refusal(
            "SliceShapesDiffer",
            "The series' slices have different numbers of rows or columns.",
            "Give one reconstruction a folder.",
            got=", ".join(f"{r} x {c}" for r, c in shapes[:4]),
            allowed="one number of rows and columns",
        )
    spacings = np.array([s.spacing for s in slices])
    if np.abs(spacings / spacings[0] - 1).max() > 1e-3:
        raise Refusal(
            "SliceSpacingsDiffer",
            "The series' slices have different pixel spacings.",
            "Give one reconstruction a folder.",
            got=f"from {spacings.min():.5g} to {spacings.max():.5g} mm",
            allowed="one pixel spacing",
        )
    voxels = len(slices) * math.prod(slices[0].shape)
    if voxels > MAX_VOXELS:
        raise Refusal(
            "DimensionsTooLarge",
            "The series declares more voxels than a volume may have.",
            "Check Rows, Columns and NumberOfFrames; crop the volume or split it into several cases.",
            got=f"{voxels} voxels",
            allowed=f"at most {MAX_VOXELS} voxels",
        )


def _mean_axes(slices: list[Slice]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The common orientation, made exactly perpendicular: cosines are rounded in the header."""
    row = np.mean([s.row for s in slices], axis=0)
    row /= np.linalg.norm(row)
    column = np.mean([s.column for s in slices], axis=0)
    column -= (column @ row) * row
    return row, column / np.linalg.norm(column)


def _one_a_place(
    slices: list[Slice], places: list[list[int]], reader: PixelReader, warnings: list[Warning]
) -> list[int]:
    """One slice for each place: a copy of the same voxels is dropped, other voxels are refused."""
    if len(places) == 1 and len(slices) > 1:
        raise Refusal(
            "SlicesAtOnePlace",
            "All slices of the series lie at the same place.",
            "Give a series that covers a volume; time points and monitoring scans do not.",
            got=f"{len(slices)} slices at one position",
            allowed="one slice a position",
        )
    dropped = 0
    for place in places:
        for copy in place[1:]:
            pair = [slices[place[0]], slices[copy]]
            a_yx, b_yx = (_rescaled(s, reader.read(s, "A slice that occurs twice")) for s in pair)
            if not np.array_equal(a_yx, b_yx):
                most = max(map(len, places))
                raise Refusal(
                    "DuplicateSlicesDiffer",
                    "Slices with different voxels lie at the same place.",
                    "Give one time point, echo or reconstruction a folder.",
                    got=f"{len(slices)} slices at {len(places)} positions, up to {most} at one",
                    allowed="one slice a position",
                )
            dropped += 1
    if dropped:
        warnings.append(
            Warning(
                code="DuplicateSlicesDropped", message=f"{dropped} slices that occur twice were read once."
            )
        )
    return [place[0] for place in places]


def _rescaled(slice_: Slice, stored_yx: NDArray) -> NDArray[np.float64]:
    return stored_yx * slice_.slope + slice_.inter


def _check_count(slices: list[Slice], min_slices: int) -> None:
    least = max(min_slices, 2)
    if len(slices) < least:
        raise Refusal(
            "TooFewSlices",
            "The series has too few slices for a volume.",
            "Give the whole series, or lower ingest.minSlices in the recipe.",
            got=f"{len(slices)} slices",
            allowed=f"at least {least}",
        )


def _voxels(slices: list[Slice], reader: PixelReader) -> NDArray:
    """The rescaled voxels of ordered slices."""
    one_scale = len({(s.slope, s.inter) for s in slices}) == 1
    whole = all(s.slope.is_integer() and s.inter.is_integer() for s in slices)
    shape = (len(slices), *slices[0].shape)
    voxels_zyx: NDArray | None = None
    for z, slice_ in enumerate(slices):
        stored_yx = reader.read(slice_, f"Slice {z + 1} of {len(slices)} (by position)")
        if one_scale:
            values_yx = stored_yx
        elif whole and stored_yx.dtype.kind in "iu":
            values_yx = stored_yx.astype(np.int64) * int(slice_.slope) + int(slice_.inter)
        else:
            values_yx = _rescaled(slice_, stored_yx).astype(np.float32)
        if voxels_zyx is None:
            voxels_zyx = np.empty(shape, values_yx.dtype)
        elif voxels_zyx.dtype != values_yx.dtype:
            voxels_zyx = voxels_zyx.astype(np.result_type(voxels_zyx, values_yx))
        voxels_zyx[z] = values_yx
    assert voxels_zyx is not None
    scale = (slices[0].slope, slices[0].inter) if one_scale else (1.0, 0.0)
    return compact(voxels_zyx, *scale)

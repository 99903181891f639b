"""Cases that must end in quarantine, each with the code that it must get there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from .anatomy import Anatomy, Lattice, render
from .dicom_series import write_series

_LATTICE = Lattice(shape_xyz=(28, 26, 24), spacing_xyz=(3.0, 3.0, 4.0))
_AFFINE = np.diag([3.0, 3.0, 4.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class Planted:
    """case_id ends in quarantine with code, for the reason said. entry: of dataset.json's `training`."""

    case_id: str
    code: str
    reason: str
    entry: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class _Paths:
    """Where a planted case's files go, below the dataset's folder."""

    root: Path
    case_id: str

    @property
    def image(self) -> Path:
        return self.root / "imagesTr" / f"{self.case_id}.nii.gz"

    @property
    def series(self) -> Path:
        return self.root / "imagesTr" / self.case_id

    @property
    def label(self) -> Path:
        return self.root / "labelsTr" / f"{self.case_id}.nii.gz"


Content = tuple[NDArray[np.int16], NDArray[np.uint8]]


def _nan(paths: _Paths, content: Content) -> None:
    image_zyx = content[0].astype(np.float32)
    image_zyx[5, 6, 7:9] = np.nan
    save(paths.image, image_zyx, _AFFINE)
    save(paths.label, content[1], _AFFINE)


def _moved_label(paths: _Paths, content: Content) -> None:
    moved = _AFFINE.copy()
    moved[2, 3] += 8.0
    save(paths.image, content[0], _AFFINE)
    save(paths.label, content[1], moved)


def _truncated(paths: _Paths, content: Content) -> None:
    save(paths.image, content[0], _AFFINE)
    save(paths.label, content[1], _AFFINE)
    paths.image.write_bytes(paths.image.read_bytes()[: paths.image.stat().st_size * 2 // 3])


def _wrong_checksum(paths: _Paths, content: Content) -> None:
    save(paths.image, content[0], _AFFINE)
    save(paths.label, content[1], _AFFINE)
    content_bytes = bytearray(paths.image.read_bytes())
    content_bytes[-8] ^= 0xFF  # the first byte of gzip's CRC-32
    paths.image.write_bytes(bytes(content_bytes))


def _unknown_label(paths: _Paths, content: Content) -> None:
    label_zyx = content[1].copy()
    label_zyx[3, 3, 3] = 7
    save(paths.image, content[0], _AFFINE)
    save(paths.label, label_zyx, _AFFINE)


def _no_label(paths: _Paths, content: Content) -> None:
    save(paths.image, content[0], _AFFINE)


def _time_series(paths: _Paths, content: Content) -> None:
    save(paths.image, np.stack([content[0], content[0] + np.int16(1)]), _AFFINE)
    save(paths.label, content[1], _AFFINE)


def _missing_slice(paths: _Paths, content: Content) -> None:
    write_series(
        paths.series,
        content[0],
        _LATTICE,
        form="explicit",
        patient_id=f"ID-{paths.case_id}",
        seed=paths.case_id,
        leave_out=(9, 10),
    )
    save(paths.label, content[1], _AFFINE)


def _tilted(paths: _Paths, content: Content) -> None:
    write_series(
        paths.series,
        content[0],
        _LATTICE,
        form="explicit",
        patient_id=f"ID-{paths.case_id}",
        seed=paths.case_id,
        tilt_degrees=12.0,
    )
    save(paths.label, content[1], _AFFINE)


_KINDS: dict[str, tuple[str, str, Callable[[_Paths, Content], None]]] = {
    "nan": ("NonFiniteVoxels", "two voxels of the image are NaN", _nan),
    "moved-label": ("LabelGeometryDiffers", "the label lies 8 mm beside the image", _moved_label),
    "truncated": ("TruncatedFile", "the image's .nii.gz ends after two thirds", _truncated),
    "checksum": ("ChecksumWrong", "the image's gzip checksum is wrong", _wrong_checksum),
    "label-value": ("LabelValueUnknown", "one voxel of the label is 7", _unknown_label),
    "no-label": ("LabelMissing", "dataset.json names a label that does not exist", _no_label),
    "4d": ("FourDimensional", "the image has two time points", _time_series),
    "missing-slice": ("SlicesMissing", "two slices of the DICOM series are missing", _missing_slice),
    "tilt": ("GantryTilt", "the DICOM series was acquired with a tilted gantry", _tilted),
}


def plant(root: Path, seed: int) -> list[Planted]:
    """Writes every kind of bad case below the dataset's folder."""
    planted = []
    for number, (name, (code, reason, write)) in enumerate(_KINDS.items()):
        rng = np.random.default_rng([seed, 9000 + number])
        paths = _Paths(root=root, case_id=f"planted-{name}")
        write(paths, render(Anatomy.draw(rng), _LATTICE, rng))
        image = f"imagesTr/{paths.case_id}" if paths.series.exists() else f"imagesTr/{paths.image.name}"
        entry = {"id": paths.case_id, "image": image, "label": f"labelsTr/{paths.label.name}"}
        planted.append(Planted(case_id=paths.case_id, code=code, reason=reason, entry=entry))
    return planted


def save(path: Path, voxels: NDArray, affine: NDArray[np.float64]) -> None:
    """Writes voxels_zyx or voxels_czyx with nibabel, whose gzip has no time stamp: always the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels.T, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)

"""Canonical volumes: what ingest writes and every later stage reads.

One channel a file, .nii.gz at level 1, in the image's own grid, its header holding geometry and nothing else.
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from ..contract import CaseRecord
from ..storage import Store
from .geometry import Affine, corner_shift_voxels, spacing_xyz
from .nifti import read_nifti
from .volume import Volume

_CHUNK_BYTES = 4 << 20
# Level 1 takes a third of level 6's time for a tenth more bytes.
_GZIP_LEVEL = 1
_QFORM_TOLERANCE_VOXELS = 0.005


def write_canonical(path: Path, volume: Volume) -> str:
    """Writes a volume, the same bytes for the same volume, and returns the file's SHA-256 in hexadecimal."""
    voxels_zyx = np.ascontiguousarray(volume.voxels_zyx)
    digest = hashlib.sha256()
    # 31: a gzip wrapper, whose time stamp zlib leaves at 0.
    deflate = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    with path.open("wb") as file:

        def put(part: bytes) -> None:
            digest.update(part)
            file.write(part)

        put(deflate.compress(_header_bytes(volume)))
        data = voxels_zyx.reshape(-1).view(np.uint8).data
        for start in range(0, len(data), _CHUNK_BYTES):
            put(deflate.compress(data[start : start + _CHUNK_BYTES]))
        put(deflate.flush())
    return digest.hexdigest()


def write_mask(path: Path, mask_zyx: NDArray, affine: Affine) -> str:
    """Writes a mask as uint8 in the grid of ``affine`` and returns the file's SHA-256 in hexadecimal."""
    return write_canonical(path, Volume(voxels_zyx=mask_zyx.astype(np.uint8, copy=False), affine=affine))


def read_canonical(path: Path) -> Volume:
    """Reads what `write_canonical` wrote, in its stored type; the checksum is verified."""
    return read_nifti(path, is_label=True).channels[0]


def read_image(artefacts: Store, record: CaseRecord) -> tuple[NDArray[np.float32], Affine]:
    """The channels of an ingested case as image_czyx, float32, and its affine."""
    volumes = (read_canonical(artefacts.local(key)) for key in record.images)
    image_czyx = np.empty((len(record.images), *record.shape_zyx), np.float32)
    for channel, volume in enumerate(volumes):
        image_czyx[channel] = volume.voxels_zyx
    return image_czyx, np.array(record.affine, dtype=np.float64)


def read_label(artefacts: Store, record: CaseRecord) -> NDArray[np.uint8] | None:
    """The label of an ingested case as label_zyx, or None for a case without one."""
    return None if record.label is None else read_canonical(artefacts.local(record.label)).voxels_zyx


def rounded_affine(affine: Affine) -> Affine:
    """The affine as a NIfTI header keeps it (float32): what a reader of the canonical volume gets."""
    return affine.astype(np.float32).astype(np.float64)


def _header_bytes(volume: Volume) -> bytes:
    header = Nifti1Header()
    header.set_data_shape(volume.shape_xyz)
    header.set_data_dtype(volume.voxels_zyx.dtype)
    header.set_zooms(spacing_xyz(volume.affine))
    header.set_xyzt_units("mm")
    header.set_sform(volume.affine, code=1)
    # Both forms, as readers differ in which one they look at, unless a quaternion cannot say what the sform
    # says: it has no shears, and is coarse near rotations by 180 degrees.
    header.set_qform(volume.affine, code=1)
    if corner_shift_voxels(volume.affine, header.get_qform(), volume.shape_xyz) > _QFORM_TOLERANCE_VOXELS:
        header["qform_code"] = 0
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    header["scl_slope"], header["scl_inter"] = 1, 0
    return header.binaryblock + b"\0" * 4

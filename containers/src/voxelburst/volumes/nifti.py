"""Reads a NIfTI that somebody else wrote: bounded, complete, and with nothing about it taken on trust."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..contract import Warning
from . import nifti_header
from .byte_stream import ByteStream
from .refusal import Refusal
from .volume import Volume, compact

# Real images compress 1.5 to 20 to one; an image that goes beyond this is as good as constant.
_IMAGE_BOMB = {"bomb_bytes": 512 << 20, "bomb_ratio": 200}
# A label is nearly all zeros and compresses a thousand to one: only its size is suspicious.
_LABEL_BOMB = {"bomb_bytes": 4 << 30, "bomb_ratio": 200}


@dataclass(frozen=True, kw_only=True)
class NiftiImage:
    """The channels of a NIfTI (one for a 3D image, in stored order) and what a person should know of it."""

    channels: list[Volume]
    warnings: list[Warning]


def read_nifti(path: Path, *, is_label: bool = False) -> NiftiImage:
    """Reads every byte of a .nii or .nii.gz (by content, not by name).

    Returns:
        volumes in the file's own grid; integers where scaling gives integers, else float32.

    Raises:
        Refusal: what `nifti_header.parse` and `ByteStream` refuse.
    """
    with ByteStream(path, **(_LABEL_BOMB if is_label else _IMAGE_BOMB)) as stream:
        block = _read_header_block(stream)
        header = nifti_header.parse(block)
        stream.expect(header.offset + header.data_bytes)
        stream.read(max(header.offset - len(block), 0))
        x, y, z = header.shape_xyz
        raw = np.empty((header.channels, z, y, x), header.dtype)
        target = raw.reshape(-1).view(np.uint8).data
        early = block[header.offset :][: len(target)]
        target[: len(early)] = early
        stream.read_into(target[len(early) :])
        stream.finish()
    warnings = list(header.warnings)
    if stream.is_gzip != path.name.endswith(".gz"):
        said, is_a = ("plain", "gzip") if stream.is_gzip else ("gzip", "plain")
        warnings.append(
            Warning(code="NameMisleads", message=f"A file named as {said} is {is_a} NIfTI; it was read.")
        )
    volumes = [
        Volume(voxels_zyx=compact(raw[c], header.slope, header.inter), affine=header.affine)
        for c in range(header.channels)
    ]
    return NiftiImage(channels=volumes, warnings=warnings)


def _read_header_block(stream: ByteStream) -> bytes:
    """352 bytes, or 544 when they say that they are NIfTI-2."""
    try:
        block = stream.read(352)
    except Refusal as refusal:
        if refusal.code != "TruncatedFile" or stream.compressed_bytes > 352:
            raise
        return b""  # too short for a header: it is no NIfTI rather than a truncated one
    if block[4:8] in (b"n+2\0", b"ni2\0"):
        block += stream.read(544 - 352)
    return block

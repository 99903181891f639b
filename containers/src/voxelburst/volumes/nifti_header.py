"""A NIfTI header, read with nibabel and judged before a voxel is allocated.

What nibabel passes over silently is refused here: form codes of 0, forms that disagree, spacing 0, a scale
that is no number, dimensions that no memory holds (bad-inputs 22 to 27, 33, 44).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from ..contract import Warning
from . import geometry
from .geometry import Affine
from .refusal import Refusal

# 1024 cubed: above any clinical volume, below what would take a host down.
MAX_VOXELS = 1 << 30

_NIFTI1_BYTES = 348
NIFTI2_BYTES = 540
_SAVE_AGAIN = "Save the image again with a tool that writes valid NIfTI, for example nibabel or ITK-SNAP."


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the voxels need to be read and placed.

    slope and inter are 1 and 0 for unscaled voxels. offset counts from the file's first byte.
    """

    shape_xyz: tuple[int, int, int]
    channels: int
    dtype: np.dtype
    offset: int
    slope: float
    inter: float
    affine: Affine
    warnings: list[Warning]

    @property
    def data_bytes(self) -> int:
        return math.prod(self.shape_xyz) * self.channels * self.dtype.itemsize


def parse(block: bytes) -> Header:
    """The header in a file's first 540 bytes (348 are enough for NIfTI-1).

    Raises:
        Refusal: NotNifti, NiftiPairUnsupported, DimensionsInvalid, DimensionsTooLarge, NotAVolume,
            VoxelTypeUnsupported, ScaleInvalid, SpacingZero, UnitsNotMillimetres, GeometryUndeclared,
            AffineInvalid, SformQformDisagree, AxesNotOrthogonal.
    """
    header = _read(block)
    shape_xyz, channels = _shape(header)
    dtype = _dtype(header)
    slope, inter = _scale(header)
    affine, warnings = _affine(header, shape_xyz)
    offset = float(header["vox_offset"])
    smallest = int(header.single_vox_offset)
    if not math.isfinite(offset) or offset < 0:
        raise Refusal(
            "DimensionsInvalid",
            "The header puts the voxels at an impossible place in the file.",
            _SAVE_AGAIN,
            got=f"vox_offset {offset}",
            allowed=f"at least {smallest}",
        )
    return Header(
        shape_xyz=shape_xyz,
        channels=channels,
        dtype=dtype,
        offset=max(int(offset), smallest),
        slope=slope,
        inter=inter,
        affine=affine,
        warnings=warnings,
    )


def _read(block: bytes) -> Nifti1Header:
    sizes = {int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")}
    if len(block) >= NIFTI2_BYTES and (NIFTI2_BYTES in sizes or block[4:8] in (b"n+2\0", b"ni2\0")):
        size, magic = NIFTI2_BYTES, block[4:8]
    else:
        size, magic = _NIFTI1_BYTES, block[344:348]
    if magic in (b"ni1\0", b"ni2\0"):
        raise Refusal(
            "NiftiPairUnsupported",
            "The image is one half of a .hdr and .img pair.",
            "Save header and voxels in one .nii.gz file.",
            got="a header without its voxels",
            allowed="a single-file NIfTI",
        )
    if magic not in (b"n+1\0", b"n+2\0"):
        raise Refusal(
            "NotNifti",
            "The file is not a NIfTI.",
            "Give a .nii or .nii.gz file, or a folder of DICOM whose key ends in a slash.",
            got=f"a file without the magic number, {len(block)} bytes of header"
            if block
            else "an empty file",
            allowed="NIfTI-1 or NIfTI-2",
        )
    kind = Nifti2Header if size == NIFTI2_BYTES else Nifti1Header
    return kind(block[:size], check=False)


def _shape(header: Nifti1Header) -> tuple[tuple[int, int, int], int]:
    dim = [int(n) for n in header["dim"]]
    rank = dim[0]
    sizes = dim[1 : rank + 1] if 1 <= rank <= 7 else []
    shown = " x ".join(map(str, sizes)) or f"a rank of {rank}"
    if not sizes or min(sizes) < 1:
        raise Refusal(
            "DimensionsInvalid",
            "The header's dimensions are not those of an image.",
            _SAVE_AGAIN,
            got=shown,
            allowed="1 to 7 dimensions of at least 1",
        )
    voxels = math.prod(sizes)
    if voxels > MAX_VOXELS:
        raise Refusal(
            "DimensionsTooLarge",
            "The header declares more voxels than a volume may have.",
            "Check the header's dimensions; crop the volume or split it into several cases.",
            got=f"{shown} = {voxels} voxels",
            allowed=f"at most {MAX_VOXELS} voxels",
        )
    if rank < 3 or min(sizes[:3]) < 2:
        raise Refusal(
            "NotAVolume",
            "The image is flat: it has no extent along one of its three axes.",
            "Give a three-dimensional volume.",
            got=shown,
            allowed="at least 2 voxels along x, y and z",
        )
    x, y, z = sizes[:3]
    return (x, y, z), math.prod(sizes[3:])


def _dtype(header: Nifti1Header) -> np.dtype:
    try:
        dtype = np.dtype(header.get_data_dtype())
    except (HeaderDataError, KeyError):  # a code that NIfTI does not have
        dtype = None
    if dtype is None or dtype.kind not in "iuf":
        raise Refusal(
            "VoxelTypeUnsupported",
            "The voxels are not plain numbers.",
            "Save the image as integers or floats; colour and complex images are not segmented.",
            got=f"NIfTI datatype {int(header['datatype'])}",
            allowed="integers and floats",
        )
    return dtype


def _scale(header: Nifti1Header) -> tuple[float, float]:
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0:  # the standard: voxels are unscaled, and inter is not looked at
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(inter)):
        raise Refusal(
            "ScaleInvalid",
            "The header's scale (scl_slope, scl_inter) is not a number.",
            "Write the scale that turns the stored numbers into intensities; 0 or 1 means unscaled.",
            got=f"slope {slope}, intercept {inter}",
            allowed="finite numbers",
        )
    return slope, inter


def _affine(header: Nifti1Header, shape_xyz: tuple[int, int, int]) -> tuple[Affine, list[Warning]]:
    pixdim = [abs(float(v)) for v in header["pixdim"][1:4]]
    if not all(math.isfinite(v) and v > 0 for v in pixdim):
        raise Refusal(
            "SpacingZero",
            "The header's voxel size (pixdim) is 0 or not a number.",
            "Write the true voxel size in millimetres into the header.",
            got=f"pixdim {', '.join(f'{v:g}' for v in pixdim)}",
            allowed="more than 0 mm along x, y and z",
        )
    units = int(header["xyzt_units"]) & 7
    if units in (1, 3):
        raise Refusal(
            "UnitsNotMillimetres",
            "The header gives lengths in another unit than millimetres.",
            "Convert the affine and pixdim to millimetres and set xyzt_units to 2.",
            got="metres" if units == 1 else "micrometres",
            allowed="millimetres",
        )
    sform = header.get_sform() if int(header["sform_code"]) > 0 else None
    qform = None
    if int(header["qform_code"]) > 0:
        try:
            qform = header.get_qform()
        except (HeaderDataError, ValueError):
            raise _invalid("a quaternion that is no rotation") from None
        if not np.isfinite(qform).all():
            raise _invalid("a qform that is not finite")
    affine = sform if sform is not None else qform
    if affine is None:
        raise Refusal(
            "GeometryUndeclared",
            "Both form codes of the header are 0: it does not say where the voxels lie.",
            "Set the sform or the qform, with its code, from the scanner's geometry.",
            got="sform_code 0, qform_code 0",
            allowed="one of them above 0",
        )
    affine = np.asarray(affine, dtype=np.float64)
    check_affine(affine)
    if sform is not None and qform is not None:
        qform = geometry.with_rotation_of(affine, np.asarray(qform, dtype=np.float64))
        shift = geometry.corner_shift_voxels(affine, qform, shape_xyz)
        if not shift <= geometry.TOLERANCE_VOXELS:
            raise Refusal(
                "SformQformDisagree",
                "The header's two geometries, sform and qform, put the voxels at different places.",
                "Keep the right one and set the other's code to 0, or copy it over the other.",
                got=f"{shift:.3g} voxels apart at a corner",
                allowed=f"at most {geometry.TOLERANCE_VOXELS} voxels",
            )
    warnings = []
    if sform is not None and not np.allclose(geometry.spacing_xyz(affine), pixdim, rtol=0.01):
        warnings.append(
            Warning(
                code="PixdimIgnored",
                message=f"pixdim ({', '.join(f'{v:.4g}' for v in pixdim)} mm) is not the sform's spacing; "
                "the sform was used.",
            )
        )
    return affine, warnings


def check_affine(affine: Affine) -> None:
    """Refuses an affine that is not finite, not invertible, or whose axes are not perpendicular."""
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise _invalid("an affine that is not finite or not invertible")
    error = geometry.orthonormal_error(affine)
    if error > geometry.TOLERANCE_ORTHONORMAL:
        raise Refusal(
            "AxesNotOrthogonal",
            "The image's axes are not perpendicular to each other.",
            "Resample the image and its label onto a grid with perpendicular axes.",
            got=f"a deviation of {error:.3g}",
            allowed=f"at most {geometry.TOLERANCE_ORTHONORMAL:g}",
        )


def _invalid(got: str) -> Refusal:
    return Refusal(
        "AffineInvalid",
        "The header's geometry is not usable.",
        _SAVE_AGAIN,
        got=got,
        allowed="a finite, invertible affine in millimetres",
    )

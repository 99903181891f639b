"""Writes a volume as a CT series, one file a slice, as scanners and archives do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless, RLELossless, generate_uid

from .anatomy import Lattice

# How a series is written; phantoms take them in turn.
FORMS = ("explicit", "rle", "jpeg-ls", "monochrome1")
_SYNTAX = {"rle": RLELossless, "jpeg-ls": JPEGLSLossless}
_BITS = 12
_INTERCEPT = -1024


def ras_affine(lattice: Lattice) -> NDArray[np.float64]:
    """The affine of a volume whose rows run to the patient's left and back: that of the series below."""
    step = np.array(lattice.spacing_xyz) * [-1, -1, 1]
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = -step * (np.array(lattice.shape_xyz) - 1) / 2
    return affine


def write_series(
    folder: Path,
    image_zyx: NDArray[np.int16],
    lattice: Lattice,
    *,
    form: str,
    patient_id: str,
    seed: str,
    tilt_degrees: float = 0.0,
    leave_out: tuple[int, ...] = (),
) -> None:
    """Writes Hounsfield units as stored values of 12 bits with a rescale intercept of -1024.

    File names run against the order of the slices, so that only positions can sort them.

    Args:
        folder: made here.
        form: one of FORMS.
        patient_id: of the header; synthetic.
        seed: UIDs are derived from it: the same bytes for the same seed.
        tilt_degrees: of the gantry; the table moves along z all the same.
        leave_out: slices (from 0) that are not written.
    """
    folder.mkdir(parents=True)
    affine = ras_affine(lattice)
    angle = np.radians(tilt_degrees)
    slices = len(image_zyx)
    for z in range(slices):
        if z in leave_out:
            continue
        stored_yx = np.clip(image_zyx[z].astype(np.int32) - _INTERCEPT, 0, (1 << _BITS) - 1).astype(np.uint16)
        if form == "monochrome1":
            stored_yx = np.uint16((1 << _BITS) - 1) - stored_yx
        origin = affine @ [0, 0, z, 1]
        dataset = _slice_header(patient_id, seed, z)
        dataset.ImagePositionPatient = [_ds(-origin[0]), _ds(-origin[1]), _ds(origin[2])]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, _ds(np.cos(angle)), _ds(-np.sin(angle))]
        dataset.GantryDetectorTilt = _ds(tilt_degrees)
        dataset.PixelSpacing = [_ds(lattice.spacing_xyz[1]), _ds(lattice.spacing_xyz[0])]
        dataset.SliceThickness = _ds(lattice.spacing_xyz[2])
        dataset.Rows, dataset.Columns = stored_yx.shape
        dataset.PhotometricInterpretation = "MONOCHROME1" if form == "monochrome1" else "MONOCHROME2"
        dataset.PixelData = stored_yx.astype("<u2").tobytes()
        if form in _SYNTAX:
            dataset.compress(_SYNTAX[form], stored_yx, generate_instance_uid=False)
        dataset.save_as(folder / f"IM{slices - z:05d}.dcm", enforce_file_format=True)


def _slice_header(patient_id: str, seed: str, z: int) -> Dataset:
    """Everything of a CT slice but its place and pixels (PS3.3 A.3.3, type 1 and 2 attributes)."""
    study, series, frame = (_uid(seed, part) for part in ("study", "series", "frame"))
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.ImplementationClassUID = pydicom.uid.PYDICOM_IMPLEMENTATION_UID
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = _uid(seed, f"instance {z}")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20200101"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "120000"
    dataset.AccessionNumber = ""
    dataset.Modality = "CT"
    dataset.Manufacturer = "voxelburst phantoms"
    dataset.ReferringPhysicianName = ""
    dataset.PatientName = f"Phantom^{patient_id}"
    dataset.PatientID = patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.KVP = "120"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
    dataset.StudyID = "1"
    dataset.SeriesNumber = 1
    dataset.AcquisitionNumber = 1
    dataset.InstanceNumber = z + 1
    dataset.PositionReferenceIndicator = ""
    dataset.SamplesPerPixel = 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, _BITS, _BITS - 1
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = str(_INTERCEPT), "1", "HU"
    dataset.BurnedInAnnotation = "NO"
    return dataset


def _uid(seed: str, part: str) -> UID:
    return generate_uid(entropy_srcs=[seed, part])


def _ds(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return f"{value:.6f}"

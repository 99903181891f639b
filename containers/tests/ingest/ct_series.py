"""CT series for tests, built slice by slice with pydicom: a test can spoil any attribute of any slice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

SPACING = (0.8, 0.7)  # between rows, between columns
DISTANCE = 2.5
SHAPE = (34, 36)  # JPEG 2000 wants at least 32
ORIGIN = np.array([-10.0, -20.0, 35.0])
AXES = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def affine(distance: float = DISTANCE) -> NDArray[np.float64]:
    """Voxel (x, y, z) to RAS of the series built here."""
    result = np.diag([-SPACING[1], -SPACING[0], distance, 1.0])
    result[:3, 3] = ORIGIN * [-1, -1, 1]
    return result


def hounsfield_zyx(slices: int = 6, seed: int = 3) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-1000, 1500, (slices, *SHAPE), dtype=np.int16)


def slices(image_zyx: NDArray[np.int16] | None = None, series: str = "series") -> list[Dataset]:
    """A good series: 12 bits unsigned, intercept -1024, ascending along z."""
    image_zyx = hounsfield_zyx() if image_zyx is None else image_zyx
    found = []
    for z, image_yx in enumerate(image_zyx):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[series, str(z)])
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[series])
        dataset.Modality = "CT"
        dataset.PatientID = "Z-17"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.InstanceNumber = z + 1
        place(dataset, ORIGIN + np.array([0, 0, z * DISTANCE]))
        dataset.ImageOrientationPatient = AXES
        dataset.PixelSpacing = list(SPACING)
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
        store(dataset, image_yx.astype(np.int32) + 1024)
        found.append(dataset)
    return found


def place(dataset: Dataset, position: NDArray[np.float64], digits: int = 6) -> None:
    dataset.ImagePositionPatient = [f"{value:.{digits}f}" for value in position]


def store(dataset: Dataset, stored_yx: NDArray, bits: int = 12, signed: bool = False) -> None:
    """Puts stored values of 16 bits into a slice."""
    dataset.Rows, dataset.Columns = stored_yx.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset["PixelRepresentation"].VR = "US"
    dataset.PixelData = (stored_yx.astype(np.int64) & 0xFFFF).astype("<u2").tobytes()


def write(folder: Path, series: list[Dataset], rename: Callable[[int], str] | None = None) -> None:
    """Writes the slices under names that run against their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(series):
        name = rename(number) if rename else f"{len(series) - number:03d}.dcm"
        dataset.save_as(folder / name, enforce_file_format=True)


def enhanced(image_zyx: NDArray[np.int16], order: list[int]) -> Dataset:
    """One enhanced multi-frame object, its frames in another order than their places."""
    classic = slices(image_zyx)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.SOPClassUID = EnhancedCTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = classic[0].SeriesInstanceUID
    dataset.Modality, dataset.PatientID = "CT", "Z-17"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    store(dataset, np.zeros(SHAPE))
    dataset.NumberOfFrames = len(order)
    measures, orientation, scale = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = list(SPACING)
    orientation.ImageOrientationPatient = AXES
    scale.RescaleSlope, scale.RescaleIntercept = "1", "-1024"
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([scale])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for z in order:
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = classic[z].ImagePositionPatient
        group.PlanePositionSequence = Sequence([position])
        frames.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.PixelData = b"".join(classic[z].PixelData for z in order)
    return dataset

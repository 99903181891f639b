"""The images of a case as somebody gave them: a NIfTI a channel, one 4D NIfTI, or folders of DICOM."""

from __future__ import annotations

from dataclasses import dataclass

from ..contract import Source, Warning
from ..storage import Store
from .checks import check_image, check_same_grid
from .nifti import NiftiImage, read_nifti
from .refusal import Refusal
from .volume import Volume


@dataclass(frozen=True, kw_only=True)
class Images:
    """The checked channels of a case, all on one grid.

    patient_id is what the DICOM header says: it must be hashed and never be written.
    """

    channels: list[Volume]
    source: Source
    warnings: list[Warning]
    patient_id: str | None = None


def read_images(dataset: Store, keys: list[str], channel_names: list[str], min_slices: int) -> Images:
    """Reads and checks the image objects of one case.

    Args:
        keys: below the dataset's root; a folder of DICOM ends in a slash.
        channel_names: the channels that the dataset declares.
        min_slices: a DICOM series with fewer is refused.

    Raises:
        Refusal: ImageMissing, ChannelsDiffer, FourDimensional, and all that reading and checking refuse.
    """
    if len(keys) not in (1, len(channel_names)):
        raise Refusal(
            "ChannelsDiffer",
            "The case has another number of images than the dataset has channels.",
            "List one image a channel, or one 4D image that holds them all.",
            got=f"{len(keys)} images",
            allowed=f"{len(channel_names)} ({', '.join(channel_names)})",
        )
    channels: list[Volume] = []
    warnings: list[Warning] = []
    sources: list[Source] = []
    patient_id = None
    for key in keys:
        if key.endswith("/"):
            from ..dicom import read_series  # pydicom is slow to import and most datasets need none of it

            series = read_series(dataset, key, min_slices)
            channels.append(series.volume)
            warnings += series.warnings
            sources.append(series.source)
            patient_id = patient_id or series.patient_id
        else:
            image = read_nifti_at(dataset, key, "Image")
            channels += image.channels
            warnings += image.warnings
            sources.append(Source(kind="nifti"))
    if len(channels) == 1 < len(channel_names):
        raise Refusal(
            "ChannelsDiffer",
            f"The dataset declares {len(channel_names)} channels and the case has one 3D image.",
            "List one image a channel, or one 4D image that holds them all; or declare one channel.",
            got="1 volume",
            allowed=f"{len(channel_names)} ({', '.join(channel_names)})",
        )
    if len(channels) != len(channel_names):
        raise Refusal(
            "FourDimensional",
            "The image's fourth dimension is not the dataset's channels.",
            "Give a 3D image, or declare one channel for each volume of the 4D image.",
            got=f"{len(channels)} volumes",
            allowed=f"{len(channel_names)} ({', '.join(channel_names)})",
        )
    for volume in channels:
        check_image(volume)
        check_same_grid(channels[0], volume, "Channel")
    return Images(channels=channels, source=sources[0], warnings=warnings, patient_id=patient_id)


def read_nifti_at(dataset: Store, key: str, what: str, *, is_label: bool = False) -> NiftiImage:
    """The NIfTI at a key; its absence is ``<what>Missing``, a fault of the case."""
    missing = Refusal(
        f"{what}Missing",
        f"The {what.lower()} that dataset.json names does not exist.",
        f"Upload the {what.lower()}, or correct its path in dataset.json.",
        got="no such object",
        allowed=f"an existing {what.lower()}",
    )
    try:
        if not dataset.exists(key):
            raise missing
        path = dataset.local(key)
        if path.is_dir():
            raise Refusal(
                "NotNifti",
                f"The {what.lower()} is a folder where a file is declared.",
                "End the path of a DICOM folder with a slash in dataset.json.",
                got="a folder",
                allowed="a .nii or .nii.gz file",
            )
        return read_nifti(path, is_label=is_label)
    except FileNotFoundError:
        raise missing from None

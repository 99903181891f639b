"""Images that are named by URI, read and checked as ingest does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote

from ..errors import StageError
from ..storage import Store
from ..volumes import Volume
from ..volumes.checks import check_same_grid
from ..volumes.refusal import Refusal
from ..volumes.source import read_images

# recipe.yaml's default for ingest.minSlices.
_MIN_SLICES = 4


def store_and_key(uri: str) -> tuple[Store, str]:
    """The store of the folder that an object or, with a slash at its end, a folder of DICOM lies in."""
    root, slash, name = uri.rstrip("/").rpartition("/")
    # A file:// URI is quoted, keys are not.
    name = unquote(name) if uri.startswith("file://") else name
    return Store(f"{root}{slash}"), name + ("/" if uri.endswith("/") else "")


@contextmanager
def named_by_uri() -> Iterator[None]:
    """Refusals in the words of one who named a volume by URI: there is no dataset.json here."""
    try:
        yield
    except Refusal as refusal:
        if "dataset.json" not in refusal.message + refusal.remedy:
            raise
        message, remedy = _BY_URI.get(refusal.code, (refusal.message, _ALLOWED))
        raise Refusal(refusal.code, message, remedy, got=refusal.got, allowed=refusal.allowed) from None


_ALLOWED = (
    "Name a NIfTI file (.nii or .nii.gz), or a folder of one DICOM series by a URI that ends in a slash; "
    "for several channels, a list of one a channel or one 4D NIfTI."
)
_BY_URI = {
    "ImageMissing": ("There is no image where the request points.", _ALLOWED),
    "LabelMissing": (
        "There is no reference where the request points.",
        "Name the label's NIfTI file (.nii or .nii.gz), or leave `reference` out.",
    ),
    "LabelValueUnknown": (
        "The reference has values that the model's labels do not have.",
        "Map the values to those of `labels` in the model folder's model.json, or leave `reference` out.",
    ),
}


def read_channels(uris: list[str], channel_names: list[str]) -> list[Volume]:
    """The channels of one image, all on one grid.

    Args:
        uris: one that holds all channels, or one a channel.

    Raises:
        Refusal: of the image. StageError: ChannelsDiffer, ObjectMissing.
    """
    if len(uris) == 1:
        store, key = store_and_key(uris[0])
        with named_by_uri():
            return read_images(store, [key], channel_names, _MIN_SLICES).channels
    if len(uris) != len(channel_names):
        raise StageError(
            "ChannelsDiffer",
            f"The image has {len(uris)} channels, the model was trained on {len(channel_names)}.",
            f"Give one image a channel: {', '.join(channel_names)}.",
            got=str(len(uris)),
            allowed=str(len(channel_names)),
        )
    channels: list[Volume] = []
    for uri, name in zip(uris, channel_names, strict=True):
        store, key = store_and_key(uri)
        with named_by_uri():
            channels += read_images(store, [key], [name], _MIN_SLICES).channels
        check_same_grid(channels[0], channels[-1], "Channel")
    return channels

"""Images that are named by URI, read and checked as ingest does."""

from __future__ import annotations

from urllib.parse import unquote

from ..errors import StageError
from ..storage import Store
from ..volumes import Volume
from ..volumes.checks import check_same_grid
from ..volumes.source import read_images

# recipe.yaml's default for ingest.minSlices.
_MIN_SLICES = 4


def store_and_key(uri: str) -> tuple[Store, str]:
    """The store of the folder that an object or, with a slash at its end, a folder of DICOM lies in."""
    root, slash, name = uri.rstrip("/").rpartition("/")
    # A file:// URI is quoted, keys are not.
    name = unquote(name) if uri.startswith("file://") else name
    return Store(f"{root}{slash}"), name + ("/" if uri.endswith("/") else "")


def read_channels(uris: list[str], channel_names: list[str]) -> list[Volume]:
    """The channels of one image, all on one grid.

    Args:
        uris: one that holds all channels, or one a channel.

    Raises:
        Refusal: of the image. StageError: ChannelsDiffer, ObjectMissing.
    """
    if len(uris) == 1:
        store, key = store_and_key(uris[0])
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
        channels += read_images(store, [key], [name], _MIN_SLICES).channels
        check_same_grid(channels[0], channels[-1], "Channel")
    return channels

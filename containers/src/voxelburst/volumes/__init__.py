"""Volumes: reading, checking, describing and writing them.

`read_image(artefacts, record)`, `read_label(artefacts, record)` and `read_canonical(path)` read what ingest
wrote; `write_mask(path, mask_zyx, affine)` writes a mask in an image's own grid.
"""

from .canonical import read_canonical, read_image, read_label, write_canonical, write_mask
from .refusal import Refusal
from .volume import Volume

__all__ = [
    "Refusal",
    "Volume",
    "read_canonical",
    "read_image",
    "read_label",
    "write_canonical",
    "write_mask",
]

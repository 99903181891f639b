"""A picture of a mask: the slice with most of it, reference and prediction outlined.

Axes: z y x the volume's own, r c rows and columns of the picture.
"""

from __future__ import annotations

import io

import nibabel
import numpy as np
import numpy.typing as npt
from PIL import Image

# previewColours of lib/contracts/result.ts, which the report's legend names: Okabe and Ito's palette.
REFERENCE_RGB = (0xE6, 0x9F, 0x00)
PREDICTION_RGB = (0x56, 0xB4, 0xE9)
_LONGER_SIDE_PIXELS = 480
# The reference's line is wider and below, so that both are seen where they coincide.
_REFERENCE_PIXELS, _PREDICTION_PIXELS = 4, 2

# One byte a pixel: greys, and the two colours in place of the two lightest.
_GREYS = 254
_REFERENCE, _PREDICTION = _GREYS, _GREYS + 1
_PALETTE = [value for grey in range(_GREYS) for value in [grey] * 3] + [*REFERENCE_RGB, *PREDICTION_RGB]

Labels = npt.NDArray[np.uint8]


def preview_png(
    image_zyx: npt.NDArray[np.generic],
    predicted_zyx: Labels,
    reference_zyx: Labels | None,
    affine: npt.NDArray[np.float64],
) -> bytes:
    """A PNG, its longer side 480 pixels, its pixels square in millimetres, in radiological orientation.

    The slices are across the axis of the coarsest spacing.
    """
    spacing_zyx = np.sqrt((affine[:3, :3] ** 2).sum(0))[::-1]
    across = int(np.argmax(spacing_zyx))
    at = _busiest_slice(across, predicted_zyx, reference_zyx)
    plane_axes = [axis for axis in range(3) if axis != across]
    order, flips = _radiological(affine, plane_axes)

    def plane(volume: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        picture = np.take(volume, at, axis=across).transpose(order)
        return picture[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]

    rows_mm, columns_mm = (spacing_zyx[plane_axes[axis]] for axis in order)
    grey = _grey(plane(image_zyx))
    size = _pixels(grey.shape, rows_mm, columns_mm)
    picture = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC)).copy()
    np.minimum(picture, _GREYS - 1, out=picture)
    for labels_zyx, colour, width in (
        (reference_zyx, _REFERENCE, _REFERENCE_PIXELS),
        (predicted_zyx, _PREDICTION, _PREDICTION_PIXELS),
    ):
        if labels_zyx is not None:
            labels = Image.fromarray(np.ascontiguousarray(plane(labels_zyx), np.uint8))
            picture[_outline(np.asarray(labels.resize(size, Image.Resampling.NEAREST)), width)] = colour
    out = io.BytesIO()
    paletted = Image.fromarray(picture, "P")
    paletted.putpalette(_PALETTE)
    paletted.save(out, "PNG")
    return out.getvalue()


def _busiest_slice(across: int, predicted_zyx: Labels, reference_zyx: Labels | None) -> int:
    """The slice with most voxels of both masks; the middle one where there is none."""
    others = tuple(axis for axis in range(3) if axis != across)
    counts = np.count_nonzero(predicted_zyx, axis=others)
    if reference_zyx is not None:
        counts = counts + np.count_nonzero(reference_zyx, axis=others)
    return int(np.argmax(counts)) if counts.any() else len(counts) // 2


def _radiological(affine: npt.NDArray[np.float64], plane_axes: list[int]) -> tuple[list[int], list[bool]]:
    """How to turn a plane: head or nose up, the patient's right (or, from the side, the nose) on the left."""
    world = nibabel.orientations.io_orientation(affine)[::-1]  # by z, y, x: (world axis, its direction)
    axes = [(int(world[axis][0]), world[axis][1]) for axis in plane_axes]
    # World axes are right 0, anterior 1, superior 2: the higher one becomes the rows.
    order = sorted(range(2), key=lambda index: -axes[index][0])
    # Rows run down, towards inferior or posterior; columns run right, towards the patient's left or back.
    return order, [axes[index][1] > 0 for index in order]


def _grey(plane: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    values = np.ascontiguousarray(plane, np.float32)
    low, high = np.percentile(values, (0.5, 99.5))
    return (np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def _pixels(shape: tuple[int, ...], rows_mm: float, columns_mm: float) -> tuple[int, int]:
    """(width, height) of the picture."""
    height, width = shape[0] * rows_mm, shape[1] * columns_mm
    scale = _LONGER_SIDE_PIXELS / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _outline(labels_rc: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.bool_]:
    """A line of a width in pixels along the inner border of each label."""
    border = np.zeros(labels_rc.shape, bool)
    rows, columns = labels_rc.shape
    padded = np.pad(labels_rc, width, mode="edge")
    for step in range(1, width + 1):
        for row, column in ((step, 0), (-step, 0), (0, step), (0, -step)):
            at = (slice(width + row, width + row + rows), slice(width + column, width + column + columns))
            border |= padded[at] != labels_rc
    return border & (labels_rc > 0)

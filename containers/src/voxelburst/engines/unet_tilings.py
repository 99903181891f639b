"""How a convolution of `unet_kernels` is cut into programs: the default, and what a measurement is worth."""

from __future__ import annotations

from ..contract import frozen


@frozen
class Tiling:
    """Blocks of places, input channels and output channels; warps; stages of the software pipeline.

    registers: at most so many a thread, so that two programs share a multiprocessor.
    """

    places: int
    inputs: int
    outputs: int
    warps: int
    stages: int
    registers: int | None = None


def default_tiling(inputs: int, outputs: int, shifted: bool) -> Tiling:
    """Without measurement: three sums of 256 x 32 or 128 x 64 take 96 registers of each thread."""
    block_out = _block(outputs, 64)
    places = 256 if block_out <= 32 and shifted else 128
    return Tiling(places=places, inputs=_block(inputs, 64), outputs=block_out, warps=8, stages=3)


def candidates(inputs: int, outputs: int, shifted: bool, byte_wide: bool) -> list[Tiling]:
    """What is worth a measurement, the default first.

    Rows of 64 bytes leave shared memory for a second program beside the first, rows of 128 need fewer steps.
    """
    default = default_tiling(inputs, outputs, shifted)
    narrow, wide = (_block(inputs, size) for size in ((64, 128) if byte_wide else (32, 64)))
    out = default.outputs
    if out <= 32:
        shapes = [
            (128, narrow, out, 4, 4, None),
            (128, narrow, out, 4, 4, 128),
            (256, narrow, out, 8, 4, 128),
            (256, wide, out, 8, 3, None),
        ]
    else:
        shapes = [
            (128, narrow, 64, 8, 4, 128),
            (64, narrow, 64, 4, 4, None),
            (128, wide, 64, 8, 4, None),
        ]
        if outputs % 128 == 0:
            shapes.append((128, narrow, 128, 8, 3, None))
    names = ("places", "inputs", "outputs", "warps", "stages", "registers")
    found = [default, *(Tiling(**dict(zip(names, shape, strict=True))) for shape in shapes)]  # type: ignore[arg-type]
    return list(dict.fromkeys(found))


def _block(channels: int, most: int) -> int:
    """The largest power of two up to ``most`` that divides the channels."""
    return min(most, channels & -channels)

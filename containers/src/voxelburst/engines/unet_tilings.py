"""How a convolution of `unet_kernels` is cut into programs: the default, and what a measurement is worth."""

from __future__ import annotations

from ..contract import frozen

LONGEST_LINE = 128


@frozen
class Tiling:
    """Blocks of places, input channels and output channels; warps; stages of the software pipeline.

    registers: at most so many a thread, so that two programs share a multiprocessor. pairs: by `conv_pairs`.
    """

    places: int
    inputs: int
    outputs: int
    warps: int
    stages: int
    registers: int | None = None
    pairs: bool = False


def default_tiling(inputs: int, outputs: int, shifted: bool) -> Tiling:
    """Without measurement: three sums of 256 x 32 or 128 x 64 take 96 registers of each thread."""
    block_out = _block(outputs, 64)
    places = 256 if block_out <= 32 and shifted else 128
    return Tiling(places=places, inputs=_block(inputs, 64), outputs=block_out, warps=8, stages=3)


def candidates(inputs: int, outputs: int, shifted: bool, byte_wide: bool, pairs: bool) -> list[Tiling]:
    """What is worth a measurement, the default first. pairs: whether the convolution can be done by pairs.

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
    by_pairs: list[tuple[int, int, int, int, int, int | None]] = []
    if pairs and out <= 32:
        by_pairs = [
            (128, narrow, out, 8, 2, None),
            (128, narrow, out, 8, 3, None),
            (128, narrow, out, 8, 2, 128),
            (64, narrow, out, 4, 2, None),
        ]
    elif pairs:
        by_pairs = [(64, narrow, 64, 8, 2, None), (128, narrow, 64, 8, 2, None)]
    found = [
        default,
        *(_tiling(*shape) for shape in shapes),
        *(_tiling(*shape, pairs=True) for shape in by_pairs),
    ]
    return list(dict.fromkeys(found))


def _tiling(
    places: int,
    inputs: int,
    outputs: int,
    warps: int,
    stages: int,
    registers: int | None,
    pairs: bool = False,
) -> Tiling:
    return Tiling(
        places=places,
        inputs=inputs,
        outputs=outputs,
        warps=warps,
        stages=stages,
        registers=registers,
        pairs=pairs,
    )


def _block(channels: int, most: int) -> int:
    """The largest power of two up to ``most`` that divides the channels."""
    return min(most, channels & -channels)


def line_block(width: int) -> int:
    """Places of a line along w that one program takes: 16 at least, as matrix instructions do."""
    return max(16, min(LONGEST_LINE, 1 << (width - 1).bit_length()))

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
    block_in = next(size for size in (64, 32, 16) if inputs % size == 0)
    block_out = next(size for size in (64, 32, 16) if outputs % size == 0)
    places = 256 if block_out <= 32 and shifted else 128
    return Tiling(places=places, inputs=block_in, outputs=block_out, warps=8, stages=3)


def candidates(inputs: int, outputs: int, shifted: bool, byte_wide: bool) -> list[Tiling]:
    """What is worth a measurement, the default first."""
    found = [default_tiling(inputs, outputs, shifted)]
    first = found[0]
    wide = 128 if byte_wide else 64
    block_in = wide if inputs % wide == 0 else first.inputs
    small = first.outputs <= 32
    places, out = (256, first.outputs) if small else (128, 64)
    shapes = [
        (places // 2, first.inputs, out, 4, 4, None),
        (places, first.inputs, out, 8, 3, 128),
        (places, block_in, out, 8, 4, None),
    ]
    if outputs % 128 == 0:
        shapes.append((128, block_in, 128, 8, 3, None))
    for places, block, out, warps, stages, registers in shapes:
        found.append(
            Tiling(places=places, inputs=block, outputs=out, warps=warps, stages=stages, registers=registers)
        )
    return list(dict.fromkeys(found))

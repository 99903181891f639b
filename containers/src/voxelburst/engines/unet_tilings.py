"""How a convolution of `unet_kernels` is cut into programs: the default, and what a measurement is worth."""

from __future__ import annotations

from ..contract import frozen


@frozen
class Tiling:
    """Blocks of places, input channels and output channels; warps; stages of the software pipeline."""

    places: int
    inputs: int
    outputs: int
    warps: int
    stages: int


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
    if first.outputs <= 32:
        found.append(Tiling(places=128, inputs=first.inputs, outputs=first.outputs, warps=4, stages=4))
        found.append(Tiling(places=256, inputs=block_in, outputs=first.outputs, warps=8, stages=4))
    else:
        found.append(Tiling(places=128, inputs=block_in, outputs=64, warps=8, stages=4))
        if outputs % 128 == 0:
            found.append(Tiling(places=128, inputs=block_in, outputs=128, warps=8, stages=3))
        found.append(Tiling(places=64, inputs=first.inputs, outputs=64, warps=4, stages=4))
    return list(dict.fromkeys(found))

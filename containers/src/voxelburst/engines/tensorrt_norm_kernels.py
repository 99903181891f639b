# Triton reads the signatures of its kernels itself: only compile-time constants are annotated.
# mypy: disallow-untyped-defs=False
"""The Triton kernel of TensorRT's norms: from one of its memory layouts into another.

Axes: n sample, s place in space (d, h, w flattened), c channel. TensorRT's layouts of volumes differ in how
many channels lie beside each other, V: the array is (n, C / V, s, V). V = C is channels-last (its DHWC8).
"""

from __future__ import annotations

import triton
import triton.language as tl

from .unet_kernels import quantised


@triton.jit
def _offset(place, channel, S, C: tl.constexpr, V: tl.constexpr):
    """Of a place and channel within a sample."""
    if V == C:
        return place * C + channel
    return channel // V * (S * V) + place * V + channel % V


@triton.jit
def apply_kernel(
    x_ptr, y_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, S, part_places, slope, inverse,
    C: tl.constexpr, V_IN: tl.constexpr, V_OUT: tl.constexpr, TILE_S: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    """y = LeakyReLU((x - mean) x rstd x weight + bias) x inverse, rounded where y has 8 bits."""
    blocks: tl.constexpr = (C + TILE_C - 1) // TILE_C
    # From the end: the pass before, which summed x, left that in the cache.
    program = tl.num_programs(0) - 1 - tl.program_id(0)
    sample = (tl.num_programs(1) - 1 - tl.program_id(1)).to(tl.int64)
    channel = program % blocks * TILE_C + tl.arange(0, TILE_C)
    real = channel < C
    rstd = tl.load(rstd_ptr + sample * C + channel, mask=real, other=0.0)
    scale = rstd * tl.load(weight_ptr + channel, mask=real, other=0.0)
    mean = tl.load(mean_ptr + sample * C + channel, mask=real, other=0.0)
    bias = tl.load(bias_ptr + channel, mask=real, other=0.0)
    x_ptr += sample * S * C
    y_ptr += sample * S * C
    first = program // blocks * part_places
    last = tl.minimum(first + part_places, S)
    for start in range(first, last, TILE_S):
        place = start + tl.arange(0, TILE_S)[:, None]
        inside = (place < last) & real[None, :]
        at = _offset(place, channel[None, :], S, C, V_IN)
        value = tl.load(x_ptr + at, mask=inside, other=0.0, eviction_policy="evict_first").to(tl.float32)
        z = (value - mean[None, :]) * scale[None, :] + bias[None, :]
        y = tl.where(z > 0, z, z * slope) * inverse
        to = _offset(place, channel[None, :], S, C, V_OUT)
        tl.store(y_ptr + to, quantised(y, y_ptr.dtype.element_ty), mask=inside)

# Triton reads the signatures of its kernels itself: only compile-time constants are annotated.
# mypy: disallow-untyped-defs=False
"""The first convolution, of few input channels, on NDHWC arrays: the Triton kernels, launched by
stem_triton.py.

Axes: n sample, p place (d, h, w flattened), k tap (input channel, then the kernel's d, h, w), o output
channel.

cuDNN runs a convolution of one input channel at 24 TFLOP/s forward and 8 backward (reference/performance.md).
Here each program gathers the taps of some places from the cache, where neighbours' taps are, and multiplies
them as a matrix: memory sees x once, and y or dy once.

    forward   x, weight -> y
    weights   x, dy     -> partial sums of dweight, one (k, o) a program, joined in a fixed order
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _taps(
    x_ptr, place, D, H, W,
    C: tl.constexpr, KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """x of each tap of each place, (k, p); 0 outside the volume."""
    k = tl.arange(0, K)[:, None]
    tap = k % (KD * KH * KW)
    channel = k // (KD * KH * KW)
    d = (place // (H * W))[None, :] + tap // (KH * KW) - KD // 2
    h = (place // W % H)[None, :] + tap // KW % KH - KH // 2
    w = (place % W)[None, :] + tap % KW - KW // 2
    inside = (channel < C) & (d >= 0) & (d < D) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
    inside = inside & (place < D * H * W)[None, :]
    return tl.load(x_ptr + ((d * H + h) * W + w) * C + channel, mask=inside, other=0.0)


@triton.jit
def forward_kernel(
    x_ptr, weight_ptr, y_ptr, D, H, W,
    C: tl.constexpr, KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, K: tl.constexpr,
    OUT: tl.constexpr, TILE_O: tl.constexpr, TILE_P: tl.constexpr,
):  # fmt: skip
    TAPS: tl.constexpr = C * KD * KH * KW
    places = D * H * W
    sample = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * TILE_P + tl.arange(0, TILE_P)
    x_kp = _taps(x_ptr + sample * places * C, place, D, H, W, C, KD, KH, KW, K)
    out = tl.program_id(2) * TILE_O + tl.arange(0, TILE_O)
    k = tl.arange(0, K)
    weight_ok = tl.load(
        weight_ptr + out[:, None] * TAPS + k[None, :],
        mask=(out[:, None] < OUT) & (k[None, :] < TAPS),
        other=0.0,
    )
    y_po = tl.trans(tl.dot(weight_ok.to(x_kp.dtype), x_kp, input_precision="ieee"))
    target = y_ptr + (sample * places + place[:, None]) * OUT + out[None, :]
    tl.store(target, y_po.to(y_ptr.dtype.element_ty), mask=(place[:, None] < places) & (out[None, :] < OUT))


@triton.jit
def weights_kernel(
    x_ptr, dy_ptr, parts_ptr, D, H, W, part_places,
    C: tl.constexpr, KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr, K: tl.constexpr,
    OUT: tl.constexpr, TILE_O: tl.constexpr, TILE_P: tl.constexpr,
):  # fmt: skip
    places = D * H * W
    sample = tl.program_id(1).to(tl.int64)
    part = sample * tl.num_programs(0) + tl.program_id(0)
    first = tl.program_id(0) * part_places
    last = tl.minimum(places, first + part_places)
    out = tl.program_id(2) * TILE_O + tl.arange(0, TILE_O)
    sums_ko = tl.zeros([K, TILE_O], tl.float32)
    for start in range(first, last, TILE_P):
        place = start + tl.arange(0, TILE_P)
        x_kp = _taps(x_ptr + sample * places * C, place, D, H, W, C, KD, KH, KW, K)
        source = dy_ptr + (sample * places + place[:, None]) * OUT + out[None, :]
        dy_po = tl.load(source, mask=(place[:, None] < last) & (out[None, :] < OUT), other=0.0)
        sums_ko = tl.dot(x_kp, dy_po, sums_ko, input_precision="ieee")
    k = tl.arange(0, K)
    target = parts_ptr + (part * K + k[:, None]) * OUT + out[None, :]
    tl.store(target, sums_ko, mask=out[None, :] < OUT)

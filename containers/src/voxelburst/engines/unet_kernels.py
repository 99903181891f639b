# Triton reads the signatures of its kernels itself: only compile-time constants are annotated.
# mypy: disallow-untyped-defs=False
"""Triton kernels of a U-Net's inference: convolutions with the sums that a norm needs, norm and activation.

Axes: n sample, p place in a padded grid, c channel, k class, d h w space. A padded grid has one place of
zeros around the volume: place p = (d x H' + h) x W' + w with H' = H + 2, W' = W + 2, so that a neighbour is
at a fixed distance and no border needs a branch. Volumes are (n, p, c): channels last.

A convolution of stride 1 and width 3 loads each row of places once for its three taps along w: their products
are summed apart and shifted by a place at the end. That is 9 loads for 27 taps, so that 32 channels are not
bound by the L2 cache (cuDNN reaches 202 of 790 TFLOP/s there, reference/performance.md).
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language import constexpr


@triton.jit
def conv(
    x, weight, scale, y, sums,
    places, first, last, tiles, row, plane, height, width,
    source_places, source_row, source_plane, stride_d, stride_h, stride_w,
    C: constexpr, PITCH: constexpr, N: constexpr, KD: constexpr, KH: constexpr, KW: constexpr,
    SHIFTED: constexpr, INTEGER: constexpr, BP: constexpr, BC: constexpr, BN: constexpr,
):  # fmt: skip
    """y[n, p, k] = scale[k] x sum over taps and channels of x; and the sums of y and of y squared.

    weight is (taps, N, C), taps in the order d, h, w. sums is (n, tile, 2, N), of the places in the volume.
    scale undoes the quantisation of both operands. PITCH: from a place of x to the next, at least C. SHIFTED:
    stride 1 and width 3.
    """
    block = tl.program_id(0)
    blocks: constexpr = N // BN
    tile = block // blocks
    channel = (block % blocks) * BN + tl.arange(0, BN)
    sample = tl.program_id(1).to(tl.int64)
    given: constexpr = BP - 2 if SHIFTED else BP  # two places of a shifted tile lack a neighbour
    index = tl.arange(0, BP)
    place = first + tile * given + index
    if SHIFTED:
        place = place - 1
    w = place % row
    h = (place // row) % (plane // row)
    d = place // plane
    mine = place <= last
    if SHIFTED:
        mine = mine & (index >= 1) & (index <= BP - 2)
    inside = mine & (w >= 1) & (w <= width) & (h >= 1) & (h <= height)

    kinds: constexpr = tl.int32 if INTEGER else tl.float32
    left = tl.zeros((BP, BN), kinds)
    middle = tl.zeros((BP, BN), kinds)
    right = tl.zeros((BP, BN), kinds)
    if SHIFTED:
        start = place
    else:
        start = ((d - 1) * stride_d + 1) * source_plane + ((h - 1) * stride_h + 1) * source_row
        start = start + (w - 1) * stride_w + 1
    source = x + sample * source_places * PITCH
    steps: constexpr = C // BC
    along_w: constexpr = 1 if SHIFTED else KW  # taps that have a load of their own
    a_tap: constexpr = N * C
    for step in range(KD * KH * along_w * steps):
        tap = step // steps
        within = (step % steps) * BC + tl.arange(0, BC)
        move = (tap // (KH * along_w) - KD // 2) * source_plane
        move += ((tap // along_w) % KH - KH // 2) * source_row
        weights = weight + channel[None, :] * C + within[:, None]
        if SHIFTED:
            values = tl.load(source + (start + move)[:, None] * PITCH + within[None, :])
            weights += 3 * tap * a_tap
            left = tl.dot(values, tl.load(weights), left, out_dtype=kinds)
            middle = tl.dot(values, tl.load(weights + a_tap), middle, out_dtype=kinds)
            right = tl.dot(values, tl.load(weights + 2 * a_tap), right, out_dtype=kinds)
        else:
            move += tap % along_w - KW // 2
            at = (start + move)[:, None] * PITCH + within[None, :]
            values = tl.load(source + at, mask=inside[:, None], other=0.0)
            middle = tl.dot(values, tl.load(weights + tap * a_tap), middle, out_dtype=kinds)
    result = middle.to(tl.float32)
    if SHIFTED:
        before = tl.maximum(index - 1, 0)
        behind = tl.minimum(index + 1, BP - 1)
        result += tl.gather(left.to(tl.float32), tl.broadcast_to(before[:, None], (BP, BN)), 0)
        result += tl.gather(right.to(tl.float32), tl.broadcast_to(behind[:, None], (BP, BN)), 0)
    result = result * tl.load(scale + channel)[None, :]
    out = y + (sample * places + place)[:, None] * N + channel[None, :]
    tl.store(out, result.to(y.dtype.element_ty), mask=mine[:, None])
    result = tl.where(inside[:, None], result, 0.0)
    sums += ((sample * tiles + tile) * 2) * N + channel
    tl.store(sums, tl.sum(result, 0))
    tl.store(sums + N, tl.sum(result * result, 0))


@triton.jit
def stem(
    x, weight, y, sums,
    places, first, last, tiles, row, plane, depth, height, width,
    C: constexpr, N: constexpr, KD: constexpr, KH: constexpr, KW: constexpr,
    BP: constexpr, BK: constexpr, BN: constexpr,
):  # fmt: skip
    """The first convolution, from windows_ncdhw without padding; taps and channels together fill one product.

    weight is (N, BK): channel, then tap, zeros behind the last. Outputs as `conv`'s.
    """
    block = tl.program_id(0)
    blocks: constexpr = N // BN
    tile = block // blocks
    channel = (block % blocks) * BN + tl.arange(0, BN)
    sample = tl.program_id(1).to(tl.int64)
    place = first + tile * BP + tl.arange(0, BP)
    w = place % row - 1
    h = (place // row) % (plane // row) - 1
    d = place // plane - 1
    mine = place <= last
    inside = mine & (w >= 0) & (w < width) & (h >= 0) & (h < height)
    taps: constexpr = KD * KH * KW
    at = tl.arange(0, BK)
    tap = at % taps
    from_d = d[:, None] + (tap // (KH * KW) - KD // 2)[None, :]
    from_h = h[:, None] + ((tap // KW) % KH - KH // 2)[None, :]
    from_w = w[:, None] + (tap % KW - KW // 2)[None, :]
    there = (from_d >= 0) & (from_d < depth) & (from_h >= 0) & (from_h < height)
    there = there & (from_w >= 0) & (from_w < width) & (at < C * taps)[None, :] & inside[:, None]
    volume = depth * height * width
    source = x + sample * C * volume + (at // taps)[None, :] * volume
    values = tl.load(source + (from_d * height + from_h) * width + from_w, mask=there, other=0.0)
    weights = tl.load(weight + channel[None, :] * BK + at[:, None])
    result = tl.dot(values.to(weights.dtype), weights)
    out = y + (sample * places + place)[:, None] * N + channel[None, :]
    tl.store(out, result.to(y.dtype.element_ty), mask=mine[:, None])
    result = tl.where(inside[:, None], result, 0.0)
    sums += ((sample * tiles + tile) * 2) * N + channel
    tl.store(sums, tl.sum(result, 0))
    tl.store(sums + N, tl.sum(result * result, 0))


@triton.jit
def statistics(
    sums, weight, bias, factor, offset, tiles, voxels, eps,
    N: constexpr, BT: constexpr, BN: constexpr,
):  # fmt: skip
    """factor and offset (n, N) of the instance norm, from the tiles' sums, in a fixed order."""
    channel = tl.program_id(0) * BN + tl.arange(0, BN)
    sample = tl.program_id(1)
    total = tl.zeros((BT, BN), tl.float32)
    squares = tl.zeros((BT, BN), tl.float32)
    for start in range(0, tiles, BT):
        tile = start + tl.arange(0, BT)
        at = sums + ((sample * tiles + tile) * 2)[:, None] * N + channel[None, :]
        there = (tile < tiles)[:, None]
        total += tl.load(at, mask=there, other=0.0)
        squares += tl.load(at + N, mask=there, other=0.0)
    mean = tl.sum(total, 0) / voxels
    variance = tl.maximum(tl.sum(squares, 0) / voxels - mean * mean, 0.0)
    scaled = tl.load(weight + channel) / tl.sqrt(variance + eps)
    tl.store(factor + sample * N + channel, scaled)
    tl.store(offset + sample * N + channel, tl.load(bias + channel) - mean * scaled)


@triton.jit
def quantised(values, TYPE: constexpr):
    """Rounded and held within the range of an 8-bit type; other types as they are."""
    if tl.int8 == TYPE:
        values = tl.floor(tl.minimum(tl.maximum(values, -127.0), 127.0) + 0.5)
    elif tl.float8e4nv == TYPE:
        values = tl.minimum(tl.maximum(values, -448.0), 448.0)
    return values.to(TYPE)


@triton.jit
def normalise(
    y, factor, offset, inverse, out, places, first, last, row, plane, height, width, slope,
    N: constexpr, PITCH: constexpr, BP: constexpr, BN: constexpr,
):  # fmt: skip
    """out[n, p, c] = LeakyReLU(y x factor + offset) x inverse in the volume; the border keeps its zeros."""
    block = tl.program_id(0)
    blocks: constexpr = N // BN
    channel = (block % blocks) * BN + tl.arange(0, BN)
    place = first + (block // blocks) * BP + tl.arange(0, BP)
    sample = tl.program_id(1).to(tl.int64)
    w = place % row
    h = (place // row) % (plane // row)
    inside = (place <= last) & (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
    at = (sample * places + place)[:, None] * N + channel[None, :]
    values = tl.load(y + at, mask=inside[:, None], other=0.0).to(tl.float32)
    values = values * tl.load(factor + sample * N + channel)[None, :]
    values = values + tl.load(offset + sample * N + channel)[None, :]
    values = tl.where(values > 0, values, values * slope) * tl.load(inverse + channel)[None, :]
    at = (sample * places + place)[:, None] * PITCH + channel[None, :]
    tl.store(out + at, quantised(values, out.dtype.element_ty), mask=inside[:, None])


@triton.jit
def upsample(
    x, weight, scale, bias, inverse, out,
    places, first, last, row, plane, height, width, out_places, out_row, out_plane,
    C: constexpr, N: constexpr, PITCH: constexpr, SD: constexpr, SH: constexpr, SW: constexpr,
    INTEGER: constexpr,
    BP: constexpr, BC: constexpr, BN: constexpr,
):  # fmt: skip
    """The transposed convolution whose kernel is its stride: each tap is a product of its own.

    weight is (taps, N, C); out = (sums x scale + bias) x inverse, its border left as it is.
    """
    block = tl.program_id(0)
    taps: constexpr = SD * SH * SW
    blocks: constexpr = N // BN
    tap = block % taps
    channel = ((block // taps) % blocks) * BN + tl.arange(0, BN)
    place = first + (block // (taps * blocks)) * BP + tl.arange(0, BP)
    sample = tl.program_id(1).to(tl.int64)
    w = place % row
    h = (place // row) % (plane // row)
    d = place // plane
    inside = (place <= last) & (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
    kinds: constexpr = tl.int32 if INTEGER else tl.float32
    total = tl.zeros((BP, BN), kinds)
    for step in range(C // BC):
        within = step * BC + tl.arange(0, BC)
        at = (sample * places + place)[:, None] * C + within[None, :]
        values = tl.load(x + at, mask=inside[:, None], other=0.0)
        weights = tl.load(weight + (tap * N + channel)[None, :] * C + within[:, None])
        total = tl.dot(values, weights, total, out_dtype=kinds)
    result = total.to(tl.float32) * tl.load(scale + channel)[None, :] + tl.load(bias + channel)[None, :]
    fine = ((d - 1) * SD + tap // (SH * SW) + 1) * out_plane + ((h - 1) * SH + (tap // SW) % SH + 1) * out_row
    fine = fine + (w - 1) * SW + tap % SW + 1
    at = out + (sample * out_places + fine)[:, None] * PITCH + channel[None, :]
    result = result * tl.load(inverse + channel)[None, :]
    tl.store(at, quantised(result, out.dtype.element_ty), mask=inside[:, None])


@triton.jit
def head(
    y, factor, offset, weight, bias, logits, places, first, last, row, plane, depth, height, width, slope,
    N: constexpr, CLASSES: constexpr, BP: constexpr, BN: constexpr,
):  # fmt: skip
    """logits_nkdhw, float32: the last norm, activation and 1x1x1 convolution in one reading."""
    place = first + tl.program_id(0) * BP + tl.arange(0, BP)
    sample = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, BN)
    real = channel < N
    w = place % row
    h = (place // row) % (plane // row)
    d = place // plane
    inside = (place <= last) & (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
    at = (sample * places + place)[:, None] * N + channel[None, :]
    values = tl.load(y + at, mask=inside[:, None] & real[None, :], other=0.0).to(tl.float32)
    values = values * tl.load(factor + sample * N + channel, mask=real, other=0.0)[None, :]
    values = values + tl.load(offset + sample * N + channel, mask=real, other=0.0)[None, :]
    values = tl.where(values > 0, values, values * slope)
    volume = depth * height * width
    to = logits + sample * CLASSES * volume + ((d - 1) * height + h - 1) * width + w - 1
    for k in range(CLASSES):
        weights = tl.load(weight + k * N + channel, mask=real, other=0.0)
        tl.store(to + k * volume, tl.sum(values * weights[None, :], 1) + tl.load(bias + k), mask=inside)

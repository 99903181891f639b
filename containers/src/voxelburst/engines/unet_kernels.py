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
def conv_pairs(
    x, weight, scale, y, sums, places, pairs, tiles, row, plane, height, width,
    C: constexpr, PITCH: constexpr, N: constexpr, KD: constexpr, INTEGER: constexpr,
    BP: constexpr, BC: constexpr, BN: constexpr,
):  # fmt: skip
    """`conv` with 3 x 3 taps along h and w and stride 1, for two lines along w at once, of an even height.

    Each of the four lines around a pair is loaded once for both, and each weight: 6 loads a line in place of
    9, and half of the weights'. pairs is the number of places of the first lines; those of the second are a
    row behind. sums and scale as for `conv`.
    """
    block = tl.program_id(0)
    blocks: constexpr = N // BN
    tile = block // blocks
    channel = (block % blocks) * BN + tl.arange(0, BN)
    sample = tl.program_id(1).to(tl.int64)
    index = tl.arange(0, BP)
    # Place 0 of a line is its border: the first tile lacks no neighbour.
    pair = tile * (BP - 2) + index
    line = pair // row
    w = pair - line * row
    h = (2 * line) % (plane // row) + 1
    # The first pair is the first two lines inside; there is an even number of lines in a plane.
    upper = plane + row + pair + line * row
    mine = (index >= 1) & (index <= BP - 2) & (pair < pairs)
    inside = mine & (w >= 1) & (w <= width) & (h <= height)

    kinds: constexpr = tl.int32 if INTEGER else tl.float32
    left_0 = tl.zeros((BP, BN), kinds)
    middle_0 = tl.zeros((BP, BN), kinds)
    right_0 = tl.zeros((BP, BN), kinds)
    left_1 = tl.zeros((BP, BN), kinds)
    middle_1 = tl.zeros((BP, BN), kinds)
    right_1 = tl.zeros((BP, BN), kinds)
    steps: constexpr = C // BC
    a_tap: constexpr = N * C
    start = x + sample * places * PITCH + upper[:, None] * PITCH + tl.arange(0, BC)[None, :]
    behind_w = weight + channel[None, :] * C + tl.arange(0, BC)[:, None]
    for step in range(KD * steps):
        depth = step // steps
        source = start + ((depth - KD // 2) * plane - row) * PITCH + (step % steps) * BC
        weights = behind_w + depth * 9 * a_tap + (step % steps) * BC
        w00 = tl.load(weights)
        w01 = tl.load(weights + a_tap)
        w02 = tl.load(weights + 2 * a_tap)
        values = tl.load(source)
        left_0 = tl.dot(values, w00, left_0, out_dtype=kinds)
        middle_0 = tl.dot(values, w01, middle_0, out_dtype=kinds)
        right_0 = tl.dot(values, w02, right_0, out_dtype=kinds)
        w10 = tl.load(weights + 3 * a_tap)
        w11 = tl.load(weights + 4 * a_tap)
        w12 = tl.load(weights + 5 * a_tap)
        values = tl.load(source + row * PITCH)
        left_1 = tl.dot(values, w00, left_1, out_dtype=kinds)
        middle_1 = tl.dot(values, w01, middle_1, out_dtype=kinds)
        right_1 = tl.dot(values, w02, right_1, out_dtype=kinds)
        left_0 = tl.dot(values, w10, left_0, out_dtype=kinds)
        middle_0 = tl.dot(values, w11, middle_0, out_dtype=kinds)
        right_0 = tl.dot(values, w12, right_0, out_dtype=kinds)
        w20 = tl.load(weights + 6 * a_tap)
        w21 = tl.load(weights + 7 * a_tap)
        w22 = tl.load(weights + 8 * a_tap)
        values = tl.load(source + 2 * row * PITCH)
        left_1 = tl.dot(values, w10, left_1, out_dtype=kinds)
        middle_1 = tl.dot(values, w11, middle_1, out_dtype=kinds)
        right_1 = tl.dot(values, w12, right_1, out_dtype=kinds)
        left_0 = tl.dot(values, w20, left_0, out_dtype=kinds)
        middle_0 = tl.dot(values, w21, middle_0, out_dtype=kinds)
        right_0 = tl.dot(values, w22, right_0, out_dtype=kinds)
        values = tl.load(source + 3 * row * PITCH)
        left_1 = tl.dot(values, w20, left_1, out_dtype=kinds)
        middle_1 = tl.dot(values, w21, middle_1, out_dtype=kinds)
        right_1 = tl.dot(values, w22, right_1, out_dtype=kinds)

    before = tl.broadcast_to(tl.maximum(index - 1, 0)[:, None], (BP, BN))
    behind = tl.broadcast_to(tl.minimum(index + 1, BP - 1)[:, None], (BP, BN))
    factor = tl.load(scale + channel)[None, :]
    out = y + (sample * places + upper)[:, None] * N + channel[None, :]
    first = middle_0.to(tl.float32) + tl.gather(left_0.to(tl.float32), before, 0)
    first = (first + tl.gather(right_0.to(tl.float32), behind, 0)) * factor
    tl.store(out, first.to(y.dtype.element_ty), mask=mine[:, None])
    second = middle_1.to(tl.float32) + tl.gather(left_1.to(tl.float32), before, 0)
    second = (second + tl.gather(right_1.to(tl.float32), behind, 0)) * factor
    tl.store(out + row * N, second.to(y.dtype.element_ty), mask=mine[:, None])
    first = tl.where(inside[:, None], first, 0.0)
    second = tl.where(inside[:, None], second, 0.0)
    sums += ((sample * tiles + tile) * 2) * N + channel
    tl.store(sums, tl.sum(first + second, 0))
    tl.store(sums + N, tl.sum(first * first + second * second, 0))


@triton.jit
def stem(
    x, weight, y, sums, places, tiles, row, plane, depth, height, width,
    C: constexpr, N: constexpr, KD: constexpr, KH: constexpr, KW: constexpr,
    BP: constexpr, BK: constexpr, BN: constexpr,
):  # fmt: skip
    """The first convolution, from windows_ncdhw without padding; taps and channels together fill one product.

    weight is (N, BK): channel, then tap, zeros behind the last. A tile is a line along w or a part of one.
    Outputs as `conv`'s.
    """
    block = tl.program_id(0)
    blocks: constexpr = N // BN
    tile = block // blocks
    channel = (block % blocks) * BN + tl.arange(0, BN)
    sample = tl.program_id(1).to(tl.int64)
    parts = tl.cdiv(width, BP)
    line = tile // parts
    d = line // height
    h = line % height
    w = tile % parts * BP + tl.arange(0, BP)
    taps: constexpr = KD * KH * KW
    at = tl.arange(0, BK)
    tap = at % taps
    from_d = d + tap // (KH * KW) - KD // 2
    from_h = h + (tap // KW) % KH - KH // 2
    there = (from_d >= 0) & (from_d < depth) & (from_h >= 0) & (from_h < height) & (at < C * taps)
    source = x + (sample * C + at // taps) * (depth * height * width) + (from_d * height + from_h) * width
    from_w = w[:, None] + (tap % KW - KW // 2)[None, :]
    mask = there[None, :] & (from_w >= 0) & (from_w < width)
    values = tl.load(source[None, :] + from_w, mask=mask, other=0.0)
    weights = tl.load(weight + channel[None, :] * BK + at[:, None])
    result = tl.dot(values.to(weights.dtype), weights)
    inside = (w < width)[:, None]
    place = sample * places + (d + 1) * plane + (h + 1) * row + w + 1
    tl.store(y + place[:, None] * N + channel[None, :], result.to(y.dtype.element_ty), mask=inside)
    result = tl.where(inside, result, 0.0)
    sums += ((sample * tiles + tile) * 2) * N + channel
    tl.store(sums, tl.sum(result, 0))
    tl.store(sums + N, tl.sum(result * result, 0))


@triton.jit
def fold(sums, folded, tiles, chunk, N: constexpr, BT: constexpr, BN: constexpr):
    """The sums of each ``chunk`` of tiles (n, chunks, 2, N), in a fixed order."""
    channel = tl.program_id(0) * BN + tl.arange(0, BN)
    part = tl.program_id(1)
    sample = tl.program_id(2)
    last = tl.minimum((part + 1) * chunk, tiles)
    total = tl.zeros((BT, BN), tl.float32)
    squares = tl.zeros((BT, BN), tl.float32)
    for start in range(part * chunk, last, BT):
        tile = start + tl.arange(0, BT)
        at = sums + ((sample * tiles + tile) * 2)[:, None] * N + channel[None, :]
        there = (tile < last)[:, None]
        total += tl.load(at, mask=there, other=0.0)
        squares += tl.load(at + N, mask=there, other=0.0)
    to = folded + ((sample * tl.num_programs(1) + part) * 2) * N + channel
    tl.store(to, tl.sum(total, 0))
    tl.store(to + N, tl.sum(squares, 0))


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
    y, factor, offset, inverse, out, places, row, plane, height, width, slope,
    N: constexpr, PITCH: constexpr, BP: constexpr, BN: constexpr,
):  # fmt: skip
    """out[n, p, c] = LeakyReLU(y x factor + offset) x inverse in the volume; the border keeps its zeros."""
    block = tl.program_id(0)
    blocks: constexpr = N // BN
    channel = (block % blocks) * BN + tl.arange(0, BN)
    parts = tl.cdiv(width, BP)
    line = block // (blocks * parts)
    w = (block // blocks) % parts * BP + tl.arange(0, BP)
    sample = tl.program_id(1).to(tl.int64)
    inside = (w < width)[:, None]
    place = sample * places + (line // height + 1) * plane + (line % height + 1) * row + w + 1
    values = tl.load(y + place[:, None] * N + channel[None, :], mask=inside, other=0.0).to(tl.float32)
    values = values * tl.load(factor + sample * N + channel)[None, :]
    values = values + tl.load(offset + sample * N + channel)[None, :]
    values = tl.where(values > 0, values, values * slope) * tl.load(inverse + channel)[None, :]
    at = out + place[:, None] * PITCH + channel[None, :]
    tl.store(at, quantised(values, out.dtype.element_ty), mask=inside)


@triton.jit
def upsample(
    x, weight, scale, bias, inverse, out, places, row, plane, height, width, out_places, out_row, out_plane,
    C: constexpr, N: constexpr, PITCH: constexpr, SD: constexpr, SH: constexpr, SW: constexpr,
    INTEGER: constexpr, BP: constexpr, BC: constexpr, BN: constexpr,
):  # fmt: skip
    """The transposed convolution whose kernel is its stride: each tap is a product of its own.

    weight is (taps, N, C); out = (sums x scale + bias) x inverse, its border left as it is.
    """
    block = tl.program_id(0)
    blocks: constexpr = N // BN
    channel = (block % blocks) * BN + tl.arange(0, BN)
    parts = tl.cdiv(width, BP)
    line = block // (blocks * parts)
    d = line // height
    h = line % height
    w = (block // blocks) % parts * BP + tl.arange(0, BP)
    sample = tl.program_id(1).to(tl.int64)
    inside = (w < width)[:, None]
    kinds: constexpr = tl.int32 if INTEGER else tl.float32
    start = x + (sample * places + (d + 1) * plane + (h + 1) * row + w + 1)[:, None] * C
    factor = tl.load(scale + channel)[None, :]
    added = tl.load(bias + channel)[None, :]
    stored = tl.load(inverse + channel)[None, :]
    fine = sample * out_places + (d * SD + 1) * out_plane + (h * SH + 1) * out_row + w * SW + 1
    for tap in range(SD * SH * SW):
        total = tl.zeros((BP, BN), kinds)
        for step in range(C // BC):
            within = step * BC + tl.arange(0, BC)
            values = tl.load(start + within[None, :], mask=inside, other=0.0)
            weights = tl.load(weight + (tap * N + channel)[None, :] * C + within[:, None])
            total = tl.dot(values, weights, total, out_dtype=kinds)
        result = (total.to(tl.float32) * factor + added) * stored
        place = fine + tap // (SH * SW) * out_plane + (tap // SW) % SH * out_row + tap % SW
        at = out + place[:, None] * PITCH + channel[None, :]
        tl.store(at, quantised(result, out.dtype.element_ty), mask=inside)


@triton.jit
def head(
    y, factor, offset, weight, bias, logits, places, row, plane, depth, height, width, slope,
    N: constexpr, CLASSES: constexpr, BP: constexpr, BN: constexpr,
):  # fmt: skip
    """logits_nkdhw, float32: the last norm, activation and 1x1x1 convolution in one reading."""
    parts = tl.cdiv(width, BP)
    line = tl.program_id(0) // parts
    w = tl.program_id(0) % parts * BP + tl.arange(0, BP)
    sample = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, BN)
    real = channel < N
    inside = w < width
    place = sample * places + (line // height + 1) * plane + (line % height + 1) * row + w + 1
    at = y + place[:, None] * N + channel[None, :]
    values = tl.load(at, mask=inside[:, None] & real[None, :], other=0.0).to(tl.float32)
    values = values * tl.load(factor + sample * N + channel, mask=real, other=0.0)[None, :]
    values = values + tl.load(offset + sample * N + channel, mask=real, other=0.0)[None, :]
    values = tl.where(values > 0, values, values * slope)
    volume = depth * height * width
    to = logits + sample * CLASSES * volume + line * width + w
    for k in range(CLASSES):
        weights = tl.load(weight + k * N + channel, mask=real, other=0.0)
        tl.store(to + k * volume, tl.sum(values * weights[None, :], 1) + tl.load(bias + k), mask=inside)

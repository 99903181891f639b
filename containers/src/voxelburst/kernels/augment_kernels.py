# Triton reads the signatures of its kernels itself: only compile-time constants are annotated.
# mypy: disallow-untyped-defs=False
"""A batch's patches cut from flat volumes and augmented: the Triton kernels, launched by augment_triton.py.

Axes: n sample, c channel, v voxel of the patch (d, h, w flattened), p part (a run of voxels of one program).
What a sample drew is read from `ints` (int64) and `reals` (float32), one row a sample, laid out as below: the
launches are the same whatever was drawn, so that one CUDA graph holds them, and a program whose transform was
not drawn ends at once.

    sample     volume, label, noise     -> a, label          (warped where drawn)
    blur x 3   a -> b -> c -> a                              (one axis each)
    extremes   a                        -> sums, low, high   (for contrast)
    spread     a, extremes              -> b, its moments    (brightness, contrast, low resolution)
    curve x 2  b, moments               -> moments of the curved values (inverted gamma, then gamma)
    finish     b, moments               -> image, label      (gammas, mirror, mask)

No atomics; parts are joined in a fixed order: equal draws give equal bits, whatever else is in the batch.
"""

from __future__ import annotations

import triton
import triton.language as tl

# A row of `ints`: where the sample's volume begins, its shape, the patch's first voxel, what was drawn.
IMAGE_AT, LABEL_AT, DEPTH, HEIGHT, WIDTH, START_D, START_H, START_W, FLAGS, NOISE_SEED, CHANNELS_AT = (
    tl.constexpr(i) for i in range(11)
)
# ... then of each channel: what was drawn, and the shape that low resolution goes through.
CHANNEL_INTS = tl.constexpr(4)
# A row of `reals`: the matrix (3 x 4) from the patch's voxel to the volume's, the noise's sigma,
SIGMA, CHANNEL_REALS_AT = tl.constexpr(12), tl.constexpr(13)
# ... then of each channel: blur's sigma of each axis, brightness, contrast, inverted gamma, gamma.
CHANNEL_REALS = tl.constexpr(7)
WARPED, NOISY, MIRROR_D, MIRROR_H, MIRROR_W = (tl.constexpr(1 << i) for i in range(5))
BLUR, BRIGHTNESS, CONTRAST, ZOOM, INVERTED_GAMMA, GAMMA = (tl.constexpr(1 << i) for i in range(6))
# Blur's window: three sigma of at most 1.
RADIUS = tl.constexpr(3)
TINY = tl.constexpr(1e-7)


@triton.jit
def _place(v, PH: tl.constexpr, PW: tl.constexpr):
    """d, h, w of a voxel of the patch."""
    return v // (PH * PW), v // PW % PH, v % PW


@triton.jit
def _corner(z0, y0, x0, fz, fy, fx, K: tl.constexpr, D, H, W):
    """Offset in the volume, trilinear weight and whether it is inside, of the K-th of eight neighbours."""
    dz: tl.constexpr = K // 4
    dy: tl.constexpr = K // 2 % 2
    dx: tl.constexpr = K % 2
    z, y, x = z0 + dz, y0 + dy, x0 + dx
    weight = (fz if dz else 1 - fz) * (fy if dy else 1 - fy) * (fx if dx else 1 - fx)
    within = (z >= 0) & (z < D) & (y >= 0) & (y < H) & (x >= 0) & (x < W)
    return (z * H + y) * W + x, weight, within


@triton.jit
def sample_kernel(
    image_ptr, label_ptr, ints_ptr, reals_ptr, a_ptr, out_label_ptr,
    C: tl.constexpr, CLASSES, PD: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    INTS: tl.constexpr, REALS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    V: tl.constexpr = PD * PH * PW
    n = tl.program_id(1)
    v = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = v < V
    d, h, w = _place(v, PH, PW)
    ints_ptr += n * INTS
    reals_ptr += n * REALS
    image_ptr += tl.load(ints_ptr + IMAGE_AT)
    label_ptr += tl.load(ints_ptr + LABEL_AT)
    D = tl.load(ints_ptr + DEPTH).to(tl.int32)
    H = tl.load(ints_ptr + HEIGHT).to(tl.int32)
    W = tl.load(ints_ptr + WIDTH).to(tl.int32)
    flags = tl.load(ints_ptr + FLAGS).to(tl.int32)
    voxels = D.to(tl.int64) * H * W
    a_ptr += n * C * V
    out_label_ptr += n * V
    noise = tl.zeros([BLOCK], tl.float32)
    if flags & NOISY:
        noise = tl.randn(tl.load(ints_ptr + NOISE_SEED), v) * tl.load(reals_ptr + SIGMA)
    if flags & WARPED:
        df, hf, wf = d.to(tl.float32), h.to(tl.float32), w.to(tl.float32)
        z = tl.load(reals_ptr + 0) * df + tl.load(reals_ptr + 1) * hf + tl.load(reals_ptr + 2) * wf
        y = tl.load(reals_ptr + 4) * df + tl.load(reals_ptr + 5) * hf + tl.load(reals_ptr + 6) * wf
        x = tl.load(reals_ptr + 8) * df + tl.load(reals_ptr + 9) * hf + tl.load(reals_ptr + 10) * wf
        z, y, x = z + tl.load(reals_ptr + 3), y + tl.load(reals_ptr + 7), x + tl.load(reals_ptr + 11)
        zf, yf, xf = tl.floor(z), tl.floor(y), tl.floor(x)
        z0, y0, x0 = zf.to(tl.int32), yf.to(tl.int32), xf.to(tl.int32)
        fz, fy, fx = z - zf, y - yf, x - xf
        for c in tl.static_range(C):
            value = tl.zeros([BLOCK], tl.float32)
            for k in tl.static_range(8):
                at, weight, within = _corner(z0, y0, x0, fz, fy, fx, k, D, H, W)
                value += weight * tl.load(image_ptr + c * voxels + at, mask=inside & within, other=0.0)
            tl.store(a_ptr + c * V + v, value + noise, mask=inside)
        best = tl.full([BLOCK], -1.0, tl.float32)
        total = tl.zeros([BLOCK], tl.float32)
        winner = tl.zeros([BLOCK], tl.int32)
        for one in range(CLASSES):
            share = tl.zeros([BLOCK], tl.float32)
            for k in tl.static_range(8):
                at, weight, within = _corner(z0, y0, x0, fz, fy, fx, k, D, H, W)
                found = tl.load(label_ptr + at, mask=inside & within, other=-1).to(tl.int32)
                share += tl.where(found == one, weight, 0.0)
            winner = tl.where(share > best, one, winner)
            best = tl.maximum(best, share)
            total += share
        # Less than half of the voxel lies inside a labelled place: outside of the case, or of its mask.
        tl.store(out_label_ptr + v, tl.where(total < 0.5, -1, winner).to(tl.int8), mask=inside)
    else:
        z0 = d + tl.load(ints_ptr + START_D).to(tl.int32)
        y0 = h + tl.load(ints_ptr + START_H).to(tl.int32)
        x0 = w + tl.load(ints_ptr + START_W).to(tl.int32)
        at, _, within = _corner(z0, y0, x0, 0.0, 0.0, 0.0, 0, D, H, W)
        for c in tl.static_range(C):
            value = tl.load(image_ptr + c * voxels + at, mask=inside & within, other=0.0)
            tl.store(a_ptr + c * V + v, value + noise, mask=inside)
        tl.store(out_label_ptr + v, tl.load(label_ptr + at, mask=inside & within, other=-1), mask=inside)


@triton.jit
def _channel_flags(ints_ptr, nc, C: tl.constexpr, INTS: tl.constexpr):
    return tl.load(ints_ptr + nc // C * INTS + CHANNELS_AT + nc % C * CHANNEL_INTS).to(tl.int32)


@triton.jit
def _channel_reals(reals_ptr, nc, C: tl.constexpr, REALS: tl.constexpr):
    return reals_ptr + nc // C * REALS + CHANNEL_REALS_AT + nc % C * CHANNEL_REALS


@triton.jit
def blur_kernel(
    x_ptr, y_ptr, ints_ptr, reals_ptr, AXIS: tl.constexpr,
    C: tl.constexpr, PD: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    INTS: tl.constexpr, REALS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Along one axis: the window reaches 3 sigma, edges are reflected without repetition."""
    V: tl.constexpr = PD * PH * PW
    SIZE: tl.constexpr = PD if AXIS == 0 else (PH if AXIS == 1 else PW)
    STRIDE: tl.constexpr = PH * PW if AXIS == 0 else (PW if AXIS == 1 else 1)
    nc = tl.program_id(1)
    if _channel_flags(ints_ptr, nc, C, INTS) & BLUR:
        sigma = tl.load(_channel_reals(reals_ptr, nc, C, REALS) + AXIS)
        radius = tl.minimum(tl.ceil(3 * sigma), SIZE - 1)
        v = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = v < V
        d, h, w = _place(v, PH, PW)
        i = d if AXIS == 0 else (h if AXIS == 1 else w)
        row = v - i * STRIDE
        total = 0.0
        value = tl.zeros([BLOCK], tl.float32)
        for t in tl.static_range(-RADIUS, RADIUS + 1):
            weight = tl.where(t * t <= radius * radius, tl.exp(-(t * t) / (2 * sigma * sigma)), 0.0)
            total += weight
            j = tl.abs(i + t)
            j = tl.minimum(j, 2 * (SIZE - 1) - j)
            # Windows wider than the axis have no weight there.
            at = row + tl.maximum(j, 0) * STRIDE
            value += weight * tl.load(x_ptr + nc * V + at, mask=inside, other=0.0)
        tl.store(y_ptr + nc * V + v, value / total, mask=inside)


@triton.jit
def _brightened(x, flags, reals):
    if flags & BRIGHTNESS:
        x = x * tl.load(reals + 3)
    return x


@triton.jit
def _contrasted(x, flags, reals, mean, low, high):
    if flags & CONTRAST:
        x = tl.minimum(tl.maximum((x - mean) * tl.load(reals + 4) + mean, low), high)
    return x


@triton.jit
def _keep(ptr, nc, part, parts, total, square, low, high):
    """Of one part: sum, sum of squares, smallest and largest."""
    ptr += nc * 4 * parts + part
    tl.store(ptr, total)
    tl.store(ptr + parts, square)
    tl.store(ptr + 2 * parts, low)
    tl.store(ptr + 3 * parts, high)


@triton.jit
def _joined(ptr, nc, parts, TILE: tl.constexpr):
    """Sum, sum of squares, smallest and largest of all parts."""
    part = tl.arange(0, TILE)
    there = part < parts
    ptr += nc * 4 * parts + part
    total = tl.sum(tl.load(ptr, mask=there, other=0.0), axis=0)
    square = tl.sum(tl.load(ptr + parts, mask=there, other=0.0), axis=0)
    low = tl.min(tl.load(ptr + 2 * parts, mask=there, other=float("inf")), axis=0)
    high = tl.max(tl.load(ptr + 3 * parts, mask=there, other=float("-inf")), axis=0)
    return total, square, low, high


@triton.jit
def extremes_kernel(
    a_ptr, ints_ptr, reals_ptr, parts_ptr, parts, part_voxels,
    C: tl.constexpr, V: tl.constexpr, INTS: tl.constexpr, REALS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What contrast needs of each channel: mean, smallest and largest value after brightness."""
    part, nc = tl.program_id(0), tl.program_id(1)
    flags = _channel_flags(ints_ptr, nc, C, INTS)
    if flags & CONTRAST:
        reals = _channel_reals(reals_ptr, nc, C, REALS)
        total = tl.zeros([BLOCK], tl.float32)
        low = tl.full([BLOCK], float("inf"), tl.float32)
        high = tl.full([BLOCK], float("-inf"), tl.float32)
        last = tl.minimum(V, (part + 1) * part_voxels)
        for start in range(part * part_voxels, last, BLOCK):
            v = start + tl.arange(0, BLOCK)
            x = _brightened(tl.load(a_ptr + nc * V + v, mask=v < last, other=0.0), flags, reals)
            total += tl.where(v < last, x, 0.0)
            low = tl.minimum(low, tl.where(v < last, x, float("inf")))
            high = tl.maximum(high, tl.where(v < last, x, float("-inf")))
        _keep(parts_ptr, nc, part, parts, tl.sum(total), 0.0, tl.min(low), tl.max(high))


@triton.jit
def _nearest(i, SIZE: tl.constexpr, small):
    """The voxel that nearest-exact sampling takes for the i-th of `small` voxels."""
    scale = SIZE / small.to(tl.float32)
    return tl.minimum(tl.floor((i.to(tl.float32) + 0.5) * scale).to(tl.int32), SIZE - 1)


@triton.jit
def _between(i, SIZE: tl.constexpr, small):
    """First neighbour, second neighbour and weight of the second, in a row of `small` spread over SIZE."""
    at = tl.maximum((i.to(tl.float32) + 0.5) * (small.to(tl.float32) / SIZE) - 0.5, 0.0)
    first = tl.minimum(tl.floor(at).to(tl.int32), small - 1)
    second = tl.minimum(first + 1, small - 1)
    return _nearest(first, SIZE, small), _nearest(second, SIZE, small), at - first.to(tl.float32)


@triton.jit
def spread_kernel(
    a_ptr, b_ptr, ints_ptr, reals_ptr, extremes_ptr, moments_ptr, parts, part_voxels,
    C: tl.constexpr, PD: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    INTS: tl.constexpr, REALS: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Brightness, contrast and low resolution; the moments of the result, about its first voxel's input."""
    V: tl.constexpr = PD * PH * PW
    part, nc = tl.program_id(0), tl.program_id(1)
    flags = _channel_flags(ints_ptr, nc, C, INTS)
    reals = _channel_reals(reals_ptr, nc, C, REALS)
    a_ptr += nc * V
    b_ptr += nc * V
    mean, low, high = 0.0, 0.0, 0.0
    if flags & CONTRAST:
        total, _, low, high = _joined(extremes_ptr, nc, parts, TILE)
        mean = total / V
    pivot = tl.load(a_ptr)
    sums = tl.zeros([BLOCK], tl.float32)
    squares = tl.zeros([BLOCK], tl.float32)
    lows = tl.full([BLOCK], float("inf"), tl.float32)
    highs = tl.full([BLOCK], float("-inf"), tl.float32)
    small = ints_ptr + nc // C * INTS + CHANNELS_AT + nc % C * CHANNEL_INTS
    last = tl.minimum(V, (part + 1) * part_voxels)
    for start in range(part * part_voxels, last, BLOCK):
        v = start + tl.arange(0, BLOCK)
        inside = v < last
        value = tl.zeros([BLOCK], tl.float32)
        if flags & ZOOM:
            d, h, w = _place(v, PH, PW)
            d0, d1, fd = _between(d, PD, tl.load(small + 1).to(tl.int32))
            h0, h1, fh = _between(h, PH, tl.load(small + 2).to(tl.int32))
            w0, w1, fw = _between(w, PW, tl.load(small + 3).to(tl.int32))
            for k in tl.static_range(8):
                z, y, x = (d1 if k // 4 else d0), (h1 if k // 2 % 2 else h0), (w1 if k % 2 else w0)
                weight = (fd if k // 4 else 1 - fd) * (fh if k // 2 % 2 else 1 - fh)
                weight = weight * (fw if k % 2 else 1 - fw)
                one = tl.load(a_ptr + (z * PH + y) * PW + x, mask=inside, other=0.0)
                one = _contrasted(_brightened(one, flags, reals), flags, reals, mean, low, high)
                value += weight * one
        else:
            value = tl.load(a_ptr + v, mask=inside, other=0.0)
            value = _contrasted(_brightened(value, flags, reals), flags, reals, mean, low, high)
        tl.store(b_ptr + v, value, mask=inside)
        deviation = tl.where(inside, value - pivot, 0.0)
        sums += deviation
        squares += deviation * deviation
        lows = tl.minimum(lows, tl.where(inside, value, float("inf")))
        highs = tl.maximum(highs, tl.where(inside, value, float("-inf")))
    _keep(moments_ptr, nc, part, parts, tl.sum(sums), tl.sum(squares), tl.min(lows), tl.max(highs))


@triton.jit
def _moments(ptr, nc, parts, pivot, V: tl.constexpr, TILE: tl.constexpr):
    """Mean, standard deviation, smallest and largest value."""
    total, square, low, high = _joined(ptr, nc, parts, TILE)
    offset = total / V
    return pivot + offset, tl.sqrt(tl.maximum(square / V - offset * offset, 0.0)), low, high


@triton.jit
def _curved(x, gamma, low, extent):
    """The range to the power of gamma."""
    share = tl.maximum((x - low) / extent, 0.0)
    return tl.exp2(gamma * tl.log2(share)) * extent + low


@triton.jit
def _inverted(x, reals, mean, std, low, high, curved_mean, curved_std):
    """Gamma on the inverted image: -gamma(-x), mean and standard deviation as before."""
    curved = _curved(-x, tl.load(reals + 5), -high, tl.maximum(high - low, TINY))
    return mean - (curved - curved_mean) / tl.maximum(curved_std, TINY) * std


@triton.jit
def curve_kernel(
    a_ptr, b_ptr, ints_ptr, reals_ptr, moments_ptr, inverted_ptr, gamma_ptr, parts, part_voxels,
    SECOND: tl.constexpr, C: tl.constexpr, V: tl.constexpr,
    INTS: tl.constexpr, REALS: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Moments of what the (first: inverted; second: plain) gamma makes of the values, about their mean."""
    part, nc = tl.program_id(0), tl.program_id(1)
    flags = _channel_flags(ints_ptr, nc, C, INTS)
    if flags & (GAMMA if SECOND else INVERTED_GAMMA):
        reals = _channel_reals(reals_ptr, nc, C, REALS)
        mean, std, low, high = _moments(moments_ptr, nc, parts, tl.load(a_ptr + nc * V), V, TILE)
        inverted_mean, inverted_std, bottom, top = 0.0, 0.0, low, high
        if SECOND:  # noqa: SIM102
            if flags & INVERTED_GAMMA:
                inverted_mean, inverted_std, _, _ = _moments(inverted_ptr, nc, parts, -mean, V, TILE)
                bottom = _inverted(low, reals, mean, std, low, high, inverted_mean, inverted_std)
                top = _inverted(high, reals, mean, std, low, high, inverted_mean, inverted_std)
        sums = tl.zeros([BLOCK], tl.float32)
        squares = tl.zeros([BLOCK], tl.float32)
        last = tl.minimum(V, (part + 1) * part_voxels)
        for start in range(part * part_voxels, last, BLOCK):
            v = start + tl.arange(0, BLOCK)
            x = tl.load(b_ptr + nc * V + v, mask=v < last, other=0.0)
            if SECOND:
                if flags & INVERTED_GAMMA:
                    x = _inverted(x, reals, mean, std, low, high, inverted_mean, inverted_std)
                x = _curved(x, tl.load(reals + 6), bottom, tl.maximum(top - bottom, TINY)) - mean
            else:
                x = _curved(-x, tl.load(reals + 5), -high, tl.maximum(high - low, TINY)) + mean
            x = tl.where(v < last, x, 0.0)
            sums += x
            squares += x * x
        if SECOND:
            _keep(gamma_ptr, nc, part, parts, tl.sum(sums), tl.sum(squares), 0.0, 0.0)
        else:
            _keep(inverted_ptr, nc, part, parts, tl.sum(sums), tl.sum(squares), 0.0, 0.0)


@triton.jit
def finish_kernel(
    a_ptr, b_ptr, label_ptr, ints_ptr, reals_ptr, moments_ptr, inverted_ptr, gamma_ptr, masked_ptr,
    image_out_ptr, label_out_ptr, parts, part_voxels,
    C: tl.constexpr, PD: tl.constexpr, PH: tl.constexpr, PW: tl.constexpr,
    INTS: tl.constexpr, REALS: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gammas, mirroring, zero outside the mask; the image goes out as n d h w c, labels below 0 as 0."""
    V: tl.constexpr = PD * PH * PW
    part, nc = tl.program_id(0), tl.program_id(1)
    n, c = nc // C, nc % C
    flags = _channel_flags(ints_ptr, nc, C, INTS)
    reals = _channel_reals(reals_ptr, nc, C, REALS)
    mirror = tl.load(ints_ptr + n * INTS + FLAGS).to(tl.int32)
    masked = tl.load(masked_ptr + c)
    mean, std, low, high = 0.0, 0.0, 0.0, 0.0
    inverted_mean, inverted_std, gamma_mean, gamma_std, bottom, top = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if flags & (GAMMA | INVERTED_GAMMA):
        mean, std, low, high = _moments(moments_ptr, nc, parts, tl.load(a_ptr + nc * V), V, TILE)
        bottom, top = low, high
        if flags & INVERTED_GAMMA:
            inverted_mean, inverted_std, _, _ = _moments(inverted_ptr, nc, parts, -mean, V, TILE)
            bottom = _inverted(low, reals, mean, std, low, high, inverted_mean, inverted_std)
            top = _inverted(high, reals, mean, std, low, high, inverted_mean, inverted_std)
        if flags & GAMMA:
            gamma_mean, gamma_std, _, _ = _moments(gamma_ptr, nc, parts, mean, V, TILE)
    last = tl.minimum(V, (part + 1) * part_voxels)
    for start in range(part * part_voxels, last, BLOCK):
        v = start + tl.arange(0, BLOCK)
        inside = v < last
        d, h, w = _place(v, PH, PW)
        if mirror & MIRROR_D:
            d = PD - 1 - d
        if mirror & MIRROR_H:
            h = PH - 1 - h
        if mirror & MIRROR_W:
            w = PW - 1 - w
        at = (d * PH + h) * PW + w
        x = tl.load(b_ptr + nc * V + at, mask=inside, other=0.0)
        if flags & INVERTED_GAMMA:
            x = _inverted(x, reals, mean, std, low, high, inverted_mean, inverted_std)
        if flags & GAMMA:
            x = _curved(x, tl.load(reals + 6), bottom, tl.maximum(top - bottom, TINY))
            x = (x - gamma_mean) / tl.maximum(gamma_std, TINY) * std + mean
        label = tl.load(label_ptr + n * V + at, mask=inside, other=-1)
        x = tl.where((masked != 0) & (label < 0), 0.0, x)
        tl.store(image_out_ptr + (n * V + v) * C + c, x, mask=inside)
        if c == 0:
            tl.store(label_out_ptr + n * V + v, tl.maximum(label, 0).to(tl.uint8), mask=inside)

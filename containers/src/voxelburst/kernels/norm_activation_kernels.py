# Triton reads the signatures of its kernels itself: only compile-time constants are annotated.
# mypy: disallow-untyped-defs=False
"""InstanceNorm3d + LeakyReLU on NDHWC arrays: the Triton kernels, launched by norm_activation_triton.py.

Axes: n sample, s place in space (d, h, w flattened), c channel, p part (a run of places that one program
reduces). All arrays are contiguous as (n, s, c).

A forward reads x twice and writes y once, a backward reads x and dy twice and writes dx once:

    moments        parts of x            -> mean, sum of squared deviations  (p, one part a program)
    join_moments   the parts' moments    -> mean, rstd                       (n, c)
    apply          x, mean, rstd         -> y

    gradient_sums  parts of x, dy        -> sum of g, sum of g * xhat        (p)
    join_sums      the parts' sums       -> the same                         (n, c)
    gradient       x, dy, the sums       -> dx

where xhat = (x - mean) * rstd, z = xhat * weight + bias, g = dy * (1 if z > 0 else slope), and

    dx = weight * rstd * (g - (sum of g) / s - xhat * (sum of g * xhat) / s)

A small volume takes one launch instead of three: a program then reduces all places of its channels and
applies the result, and its second read comes from the cache.

Order and rounding: no atomics; the parts depend on the volume's shape alone, not on the device or the batch.
So equal samples give equal bits, whatever else is in their batch. Sums are float32, of deviations from a
value near the mean (`_moments_of`), and parts are joined by Chan, Golub and LeVeque's formula (1983).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _moments_of(x_ptr, places, first_channel, C: tl.constexpr, TILE_S: tl.constexpr, TILE_C: tl.constexpr):
    """Mean and sum of squared deviations of each channel over `places` places from x_ptr on.

    The deviations are from the first tile's own mean k. If m is the mean of all t tiles, then the first tile
    alone has a sum of squared deviations from m of at least TILE_S * (k - m)^2, so that what is subtracted at
    the end, t * TILE_S * (k - m)^2, is at most t times the result: no cancellation worse than that, however
    far the mean is from zero.
    """
    place = tl.arange(0, TILE_S)[:, None]
    channel = first_channel + tl.arange(0, TILE_C)[None, :]
    offset = place * C + channel
    inside = (place < places) & (channel < C)
    value = tl.load(x_ptr + offset, mask=inside, other=0.0).to(tl.float32)
    shift = tl.sum(value, axis=0) / tl.minimum(places, TILE_S)
    sums = tl.where(inside, value - shift[None, :], 0.0)
    squares = sums * sums
    for start in range(TILE_S, places, TILE_S):
        inside = (start + place < places) & (channel < C)
        value = tl.load(x_ptr + start * C + offset, mask=inside, other=0.0).to(tl.float32)
        deviation = tl.where(inside, value - shift[None, :], 0.0)
        sums += deviation
        squares += deviation * deviation
    total = tl.sum(sums, axis=0)
    offset_of_mean = total / places
    return shift + offset_of_mean, tl.maximum(tl.sum(squares, axis=0) - total * offset_of_mean, 0.0)


@triton.jit
def _apply_to(
    x_ptr, y_ptr, places, first_channel, mean, scale, bias, slope,
    C: tl.constexpr, TILE_S: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    place = tl.arange(0, TILE_S)[:, None]
    channel = first_channel + tl.arange(0, TILE_C)[None, :]
    offset = place * C + channel
    for start in range(0, places, TILE_S):
        inside = (start + place < places) & (channel < C)
        # The last read of x here: let it make room in the cache for y, which the next layer reads.
        value = tl.load(x_ptr + start * C + offset, mask=inside, other=0.0, eviction_policy="evict_first")
        z = (value.to(tl.float32) - mean[None, :]) * scale[None, :] + bias[None, :]
        y = tl.where(z > 0, z, z * slope)
        tl.store(y_ptr + start * C + offset, y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _gradient_at(x, dy, mean, rstd, weight, bias, slope):
    """xhat and g, of values of x and dy."""
    centred = x.to(tl.float32) - mean[None, :]
    # The forward's own expression, so that no element changes its side of zero.
    z = centred * (rstd * weight)[None, :] + bias[None, :]
    gradient = dy.to(tl.float32)
    return centred * rstd[None, :], tl.where(z > 0, gradient, gradient * slope)


@triton.jit
def _gradient_sums_of(
    x_ptr, dy_ptr, places, first_channel, mean, rstd, weight, bias, slope,
    C: tl.constexpr, TILE_S: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    """Sum of g and sum of g * xhat of each channel over `places` places."""
    place = tl.arange(0, TILE_S)[:, None]
    channel = first_channel + tl.arange(0, TILE_C)[None, :]
    offset = place * C + channel
    sums = tl.zeros([TILE_S, TILE_C], tl.float32)
    products = tl.zeros([TILE_S, TILE_C], tl.float32)
    for start in range(0, places, TILE_S):
        inside = (start + place < places) & (channel < C)
        x = tl.load(x_ptr + start * C + offset, mask=inside, other=0.0)
        dy = tl.load(dy_ptr + start * C + offset, mask=inside, other=0.0)
        xhat, g = _gradient_at(x, dy, mean, rstd, weight, bias, slope)
        sums += g  # 0 outside, as dy is
        products += g * xhat
    return tl.sum(sums, axis=0), tl.sum(products, axis=0)


@triton.jit
def _gradient_to(
    x_ptr, dy_ptr, dx_ptr, places, first_channel, mean, rstd, weight, bias, mean_g, mean_g_xhat, slope,
    C: tl.constexpr, TILE_S: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    place = tl.arange(0, TILE_S)[:, None]
    channel = first_channel + tl.arange(0, TILE_C)[None, :]
    offset = place * C + channel
    for start in range(0, places, TILE_S):
        inside = (start + place < places) & (channel < C)
        x = tl.load(x_ptr + start * C + offset, mask=inside, other=0.0, eviction_policy="evict_first")
        dy = tl.load(dy_ptr + start * C + offset, mask=inside, other=0.0, eviction_policy="evict_first")
        xhat, g = _gradient_at(x, dy, mean, rstd, weight, bias, slope)
        dx = (rstd * weight)[None, :] * (g - mean_g[None, :] - xhat * mean_g_xhat[None, :])
        tl.store(dx_ptr + start * C + offset, dx.to(dx_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _for_channels(ptr, first_channel, C: tl.constexpr, TILE_C: tl.constexpr):
    channel = first_channel + tl.arange(0, TILE_C)
    return tl.load(ptr + channel, mask=channel < C, other=0.0).to(tl.float32)


@triton.jit
def _keep_channels(ptr, value, first_channel, C: tl.constexpr, TILE_C: tl.constexpr):
    channel = first_channel + tl.arange(0, TILE_C)
    tl.store(ptr + channel, value, mask=channel < C)


@triton.jit
def _part(part_places, S, reverse: tl.constexpr, C: tl.constexpr, TILE_C: tl.constexpr):
    """This program's sample, part, first channel, places, and where its first place lies.

    Neighbouring programs take the channels of the same places. A pass that goes over an array for the second
    time begins at its end, which the first pass has left in the cache.
    """
    blocks: tl.constexpr = (C + TILE_C - 1) // TILE_C
    program = tl.program_id(0)
    sample = tl.program_id(1)
    if reverse:
        program = tl.num_programs(0) - 1 - program
        sample = tl.num_programs(1) - 1 - sample
    part = program // blocks
    first_channel = program % blocks * TILE_C
    places = tl.minimum(part_places, S - part * part_places)
    start = (sample.to(tl.int64) * S + part * part_places) * C
    return sample, part, first_channel, places, start


@triton.jit
def moments_kernel(
    x_ptr, means_ptr, squares_ptr, S, part_places, parts,
    C: tl.constexpr, TILE_S: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    sample, part, first_channel, places, start = _part(part_places, S, False, C, TILE_C)
    mean, squares = _moments_of(x_ptr + start, places, first_channel, C, TILE_S, TILE_C)
    _keep_channels(means_ptr + (sample * parts + part) * C, mean, first_channel, C, TILE_C)
    _keep_channels(squares_ptr + (sample * parts + part) * C, squares, first_channel, C, TILE_C)


@triton.jit
def join_moments_kernel(
    means_ptr, squares_ptr, mean_ptr, rstd_ptr, S, part_places, parts, eps,
    C: tl.constexpr, TILE_P: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    first_channel = tl.program_id(0) * TILE_C
    sample = tl.program_id(1)
    part = tl.arange(0, TILE_P)[:, None]
    channel = first_channel + tl.arange(0, TILE_C)[None, :]
    means_ptr += sample * parts * C
    squares_ptr += sample * parts * C
    shift = _for_channels(means_ptr, first_channel, C, TILE_C)
    sums = tl.zeros([TILE_P, TILE_C], tl.float32)
    for start in range(0, parts, TILE_P):
        inside = (start + part < parts) & (channel < C)
        places = tl.minimum(part_places, S - (start + part) * part_places).to(tl.float32)
        mean = tl.load(means_ptr + (start + part) * C + channel, mask=inside, other=0.0)
        sums += tl.where(inside, places * (mean - shift[None, :]), 0.0)
    mean_c = shift + tl.sum(sums, axis=0) / S
    sums = tl.zeros([TILE_P, TILE_C], tl.float32)
    for start in range(0, parts, TILE_P):
        inside = (start + part < parts) & (channel < C)
        places = tl.minimum(part_places, S - (start + part) * part_places).to(tl.float32)
        mean = tl.load(means_ptr + (start + part) * C + channel, mask=inside, other=0.0)
        squares = tl.load(squares_ptr + (start + part) * C + channel, mask=inside, other=0.0)
        deviation = mean - mean_c[None, :]
        sums += tl.where(inside, squares + places * deviation * deviation, 0.0)
    rstd = 1.0 / tl.sqrt_rn(tl.sum(sums, axis=0) / S + eps)
    _keep_channels(mean_ptr + sample * C, mean_c, first_channel, C, TILE_C)
    _keep_channels(rstd_ptr + sample * C, rstd, first_channel, C, TILE_C)


@triton.jit
def apply_kernel(
    x_ptr, y_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, S, part_places, slope,
    C: tl.constexpr, TILE_S: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    sample, _, first_channel, places, start = _part(part_places, S, True, C, TILE_C)
    mean = _for_channels(mean_ptr + sample * C, first_channel, C, TILE_C)
    rstd = _for_channels(rstd_ptr + sample * C, first_channel, C, TILE_C)
    scale = rstd * _for_channels(weight_ptr, first_channel, C, TILE_C)
    bias = _for_channels(bias_ptr, first_channel, C, TILE_C)
    _apply_to(
        x_ptr + start, y_ptr + start, places, first_channel, mean, scale, bias, slope, C, TILE_S, TILE_C
    )


@triton.jit
def small_forward_kernel(
    x_ptr, y_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, S, eps, slope,
    C: tl.constexpr, TILE_S: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    sample, _, first_channel, places, start = _part(S, S, False, C, TILE_C)
    mean, squares = _moments_of(x_ptr + start, places, first_channel, C, TILE_S, TILE_C)
    rstd = 1.0 / tl.sqrt_rn(squares / places + eps)
    _keep_channels(mean_ptr + sample * C, mean, first_channel, C, TILE_C)
    _keep_channels(rstd_ptr + sample * C, rstd, first_channel, C, TILE_C)
    scale = rstd * _for_channels(weight_ptr, first_channel, C, TILE_C)
    bias = _for_channels(bias_ptr, first_channel, C, TILE_C)
    _apply_to(
        x_ptr + start, y_ptr + start, places, first_channel, mean, scale, bias, slope, C, TILE_S, TILE_C
    )


@triton.jit
def gradient_sums_kernel(
    x_ptr, dy_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, sums_ptr, products_ptr,
    S, part_places, parts, slope,
    C: tl.constexpr, TILE_S: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    sample, part, first_channel, places, start = _part(part_places, S, False, C, TILE_C)
    mean = _for_channels(mean_ptr + sample * C, first_channel, C, TILE_C)
    rstd = _for_channels(rstd_ptr + sample * C, first_channel, C, TILE_C)
    weight = _for_channels(weight_ptr, first_channel, C, TILE_C)
    bias = _for_channels(bias_ptr, first_channel, C, TILE_C)
    sums, products = _gradient_sums_of(
        x_ptr + start, dy_ptr + start, places, first_channel,
        mean, rstd, weight, bias, slope, C, TILE_S, TILE_C,
    )  # fmt: skip
    _keep_channels(sums_ptr + (sample * parts + part) * C, sums, first_channel, C, TILE_C)
    _keep_channels(products_ptr + (sample * parts + part) * C, products, first_channel, C, TILE_C)


@triton.jit
def join_sums_kernel(
    part_sums_ptr, part_products_ptr, sums_ptr, products_ptr, parts,
    C: tl.constexpr, TILE_P: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    first_channel = tl.program_id(0) * TILE_C
    sample = tl.program_id(1)
    part = tl.arange(0, TILE_P)[:, None]
    channel = first_channel + tl.arange(0, TILE_C)[None, :]
    part_sums_ptr += sample * parts * C
    part_products_ptr += sample * parts * C
    sums = tl.zeros([TILE_P, TILE_C], tl.float32)
    products = tl.zeros([TILE_P, TILE_C], tl.float32)
    for start in range(0, parts, TILE_P):
        inside = (start + part < parts) & (channel < C)
        sums += tl.load(part_sums_ptr + (start + part) * C + channel, mask=inside, other=0.0)
        products += tl.load(part_products_ptr + (start + part) * C + channel, mask=inside, other=0.0)
    _keep_channels(sums_ptr + sample * C, tl.sum(sums, axis=0), first_channel, C, TILE_C)
    _keep_channels(products_ptr + sample * C, tl.sum(products, axis=0), first_channel, C, TILE_C)


@triton.jit
def gradient_kernel(
    x_ptr, dy_ptr, dx_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, sums_ptr, products_ptr,
    S, part_places, slope,
    C: tl.constexpr, TILE_S: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    sample, _, first_channel, places, start = _part(part_places, S, True, C, TILE_C)
    mean = _for_channels(mean_ptr + sample * C, first_channel, C, TILE_C)
    rstd = _for_channels(rstd_ptr + sample * C, first_channel, C, TILE_C)
    weight = _for_channels(weight_ptr, first_channel, C, TILE_C)
    bias = _for_channels(bias_ptr, first_channel, C, TILE_C)
    mean_g = _for_channels(sums_ptr + sample * C, first_channel, C, TILE_C) / S
    mean_g_xhat = _for_channels(products_ptr + sample * C, first_channel, C, TILE_C) / S
    _gradient_to(
        x_ptr + start, dy_ptr + start, dx_ptr + start, places, first_channel,
        mean, rstd, weight, bias, mean_g, mean_g_xhat, slope, C, TILE_S, TILE_C,
    )  # fmt: skip


@triton.jit
def small_backward_kernel(
    x_ptr, dy_ptr, dx_ptr, mean_ptr, rstd_ptr, weight_ptr, bias_ptr, sums_ptr, products_ptr, S, slope,
    C: tl.constexpr, TILE_S: tl.constexpr, TILE_C: tl.constexpr,
):  # fmt: skip
    sample, _, first_channel, places, start = _part(S, S, False, C, TILE_C)
    mean = _for_channels(mean_ptr + sample * C, first_channel, C, TILE_C)
    rstd = _for_channels(rstd_ptr + sample * C, first_channel, C, TILE_C)
    weight = _for_channels(weight_ptr, first_channel, C, TILE_C)
    bias = _for_channels(bias_ptr, first_channel, C, TILE_C)
    sums, products = _gradient_sums_of(
        x_ptr + start, dy_ptr + start, places, first_channel,
        mean, rstd, weight, bias, slope, C, TILE_S, TILE_C,
    )  # fmt: skip
    _keep_channels(sums_ptr + sample * C, sums, first_channel, C, TILE_C)
    _keep_channels(products_ptr + sample * C, products, first_channel, C, TILE_C)
    _gradient_to(
        x_ptr + start, dy_ptr + start, dx_ptr + start, places, first_channel,
        mean, rstd, weight, bias, sums / places, products / places, slope, C, TILE_S, TILE_C,
    )  # fmt: skip

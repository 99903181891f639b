"""InstanceNorm3d (affine) and LeakyReLU as one operation, `voxelburst::instance_norm_leaky_relu`.

Triton kernels on a GPU, PyTorch's operators on flattened channels-last memory on a CPU (float32), plain
PyTorch elsewhere: the same function, the same signature. torch.compile takes it into its graph as it is (fake
implementation and autograd formula are registered).

Axes: n sample, c channel, d h w space; memory is NDHWC (torch.channels_last_3d).

Unlike torch's own instance norm, one voxel of space is not refused: its variance is 0, so that the result is
LeakyReLU(bias).
"""

from __future__ import annotations

import math
from typing import Any

import torch

from . import norm_activation_cpu

EPS = 1e-5
SLOPE = 0.01

_TYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


def instance_norm_leaky_relu(
    x_ncdhw: torch.Tensor,
    weight_c: torch.Tensor,
    bias_c: torch.Tensor,
    eps: float = EPS,
    slope: float = SLOPE,
) -> torch.Tensor:
    """LeakyReLU(InstanceNorm(x) * weight + bias), differentiable once in x, weight and bias.

    Ulyanov, Vedaldi and Lempitsky 2016 (arXiv 1607.08022), with the biased variance of sample and channel.

    Args:
        x_ncdhw: bfloat16, float16, float32 (or float64, which plain PyTorch computes); any memory format, but
            what is not NDHWC is copied first.
        weight_c, bias_c: of any of these types; they need not have x's.
        eps: added to the variance.
        slope: of the activation below zero.

    Returns:
        y_ncdhw of x's type, in NDHWC memory. Statistics and sums are float32 (float64 for float64) in a fixed
        order: equal inputs give equal bits.

    Raises:
        ValueError: x has not five axes, no voxels, or the parameters are not of its channels.
        TypeError: x is no floating-point tensor of these types.
    """
    return _forward(x_ncdhw, weight_c, bias_c, eps, slope)[0]


@torch.library.custom_op("voxelburst::instance_norm_leaky_relu", mutates_args=())
def _forward(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, slope: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """y_ncdhw, mean_nc, rstd_nc."""
    _check(x, weight, bias)
    return _plain_forward(x, weight, bias, eps, slope)


@_forward.register_kernel("cuda")
def _forward_on_gpu(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, slope: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    _check(x, weight, bias)
    if x.dtype == torch.float64 or len(x) == 0:
        return _plain_forward(x, weight, bias, eps, slope)
    # Imported here: PyTorch for CPUs comes without Triton.
    from . import norm_activation_triton as kernels

    y = _empty_ndhwc(x)
    mean, rstd = _empty_nc(x), _empty_nc(x)
    with torch.cuda.device(x.device):
        kernels.forward(
            _as_nsc(x), weight.contiguous(), bias.contiguous(), eps, slope,
            y_nsc=_as_nsc(y), mean_nc=mean, rstd_nc=rstd,
        )  # fmt: skip
    return y, mean, rstd


@_forward.register_kernel("cpu")
def _forward_on_cpu(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, slope: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    _check(x, weight, bias)
    if {x.dtype, weight.dtype, bias.dtype} != {torch.float32}:
        return _plain_forward(x, weight, bias, eps, slope)
    y_nsc, mean, rstd = norm_activation_cpu.forward(_as_nsc(x), weight, bias, eps, slope)
    return _as_ncdhw(y_nsc, x), mean, rstd


@_forward.register_fake
def _forward_fake(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, slope: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    _check(x, weight, bias)
    return _empty_ndhwc(x), _empty_nc(x), _empty_nc(x)


@torch.library.custom_op("voxelburst::instance_norm_leaky_relu_backward", mutates_args=())
def _backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    slope: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """dx_ncdhw, dweight_c, dbias_c."""
    return _plain_backward(dy, x, weight, bias, mean, rstd, slope)


@_backward.register_kernel("cuda")
def _backward_on_gpu(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    slope: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if x.dtype == torch.float64 or len(x) == 0:
        return _plain_backward(dy, x, weight, bias, mean, rstd, slope)
    from . import norm_activation_triton as kernels

    dx = _empty_ndhwc(x)
    dweight_nc, dbias_nc = _empty_nc(x), _empty_nc(x)
    with torch.cuda.device(x.device):
        kernels.backward(
            _as_nsc(dy), _as_nsc(x), weight.contiguous(), bias.contiguous(), mean, rstd, slope,
            dx_nsc=_as_nsc(dx), dweight_nc=dweight_nc, dbias_nc=dbias_nc,
        )  # fmt: skip
    return dx, dweight_nc.sum(0).to(weight.dtype), dbias_nc.sum(0).to(bias.dtype)


@_backward.register_kernel("cpu")
def _backward_on_cpu(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    slope: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if {dy.dtype, x.dtype, weight.dtype, bias.dtype} != {torch.float32}:
        return _plain_backward(dy, x, weight, bias, mean, rstd, slope)
    dx_nsc, dweight, dbias = norm_activation_cpu.backward(
        _as_nsc(dy), _as_nsc(x), weight, bias, mean, rstd, slope
    )
    return _as_ncdhw(dx_nsc, x), dweight, dbias


@_backward.register_fake
def _backward_fake(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    slope: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return _empty_ndhwc(x), weight.new_empty(weight.shape), bias.new_empty(bias.shape)


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    x, weight, bias, _, slope = inputs
    _, mean, rstd = output
    ctx.save_for_backward(x, weight, bias, mean, rstd)
    ctx.slope = slope
    ctx.mark_non_differentiable(mean, rstd)
    # Without this, mean and rstd would each cost a launch for a gradient of zeros.
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, dy: torch.Tensor | None, *_: None) -> tuple[torch.Tensor | None, ...]:
    if dy is None:
        return None, None, None, None, None
    return (*_backward(dy, *ctx.saved_tensors, ctx.slope), None, None)


_forward.register_autograd(_gradients, setup_context=_keep_for_backward)


def _plain_forward(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float, slope: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    wide = x.to(_sums_type(x))
    mean = wide.mean(_SPACE)
    variance = (wide - _over_space(mean)).square().mean(_SPACE)
    rstd = (variance + eps).rsqrt()
    z = _before_activation(wide, weight, bias, mean, rstd)
    return _empty_ndhwc(x).copy_(torch.where(z > 0, z, z * slope)), mean, rstd


def _plain_backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
    slope: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    wide, g = x.to(mean.dtype), dy.to(mean.dtype)
    # Computed as in the forward, so that no element changes its side of zero.
    z = _before_activation(wide, weight, bias, mean, rstd)
    g = torch.where(z > 0, g, g * slope)
    xhat = (wide - _over_space(mean)) * _over_space(rstd)
    dweight_nc, dbias_nc = (g * xhat).sum(_SPACE), g.sum(_SPACE)
    places = math.prod(x.shape[2:])
    dx = g - _over_space(dbias_nc / places) - xhat * _over_space(dweight_nc / places)
    dx = dx * _over_space(rstd * weight.to(mean.dtype))
    return _empty_ndhwc(x).copy_(dx), dweight_nc.sum(0).to(weight.dtype), dbias_nc.sum(0).to(bias.dtype)


def _before_activation(
    wide: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, rstd: torch.Tensor
) -> torch.Tensor:
    scale_nc = rstd * weight.to(mean.dtype)
    return (wide - _over_space(mean)) * _over_space(scale_nc) + _over_space(bias.to(mean.dtype)[None])


_SPACE = (2, 3, 4)


def _over_space(values_nc: torch.Tensor) -> torch.Tensor:
    return values_nc[:, :, None, None, None]


def _sums_type(x: torch.Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _empty_ndhwc(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last_3d)


def _empty_nc(x: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape[:2], dtype=_sums_type(x))


def _as_nsc(volume_ncdhw: torch.Tensor) -> torch.Tensor:
    """A view of the volume, or of its NDHWC copy, as contiguous (n, s, c)."""
    samples, channels, *space = volume_ncdhw.shape
    volume_ndhwc = volume_ncdhw.contiguous(memory_format=torch.channels_last_3d).permute(0, 2, 3, 4, 1)
    return volume_ndhwc.reshape(samples, math.prod(space), channels)


def _as_ncdhw(volume_nsc: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A view of (n, s, c) as a volume of another one's shape, in NDHWC memory."""
    samples, channels, *space = like.shape
    return volume_nsc.reshape(samples, *space, channels).permute(0, 4, 1, 2, 3)


def _check(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> None:
    if x.dim() != 5 or math.prod(x.shape[1:]) == 0:
        raise ValueError(f"x has the shape {tuple(x.shape)}; it must be (n, c, d, h, w), c to w at least 1.")
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter.shape != x.shape[1:2]:
            raise ValueError(
                f"{name} has the shape {tuple(parameter.shape)}; it must be ({x.shape[1]},), as x has "
                f"{x.shape[1]} channels."
            )
        if parameter.device != x.device:
            raise ValueError(
                f"{name} is on {parameter.device} and x on {x.device}; they must be on one device."
            )
    if x.dtype not in _TYPES:
        allowed = ", ".join(str(dtype) for dtype in _TYPES)
        raise TypeError(f"x is of {x.dtype}; it must be of one of {allowed}.")

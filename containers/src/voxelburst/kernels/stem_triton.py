"""Launches the kernels of stem_kernels.py.

Axes: n sample, c input channel, o output channel, d h w space; x_ndhwc, y_ndhwo and dy_ndhwo are contiguous.
"""

from __future__ import annotations

import torch
import triton

from . import stem_kernels as device

_TILE_PLACES = 128
_MAX_OUTPUTS = 32
# Programs of the gradient of the weights, of all samples together: a few for each multiprocessor.
_PROGRAMS = 1024


def forward(x_ndhwc: torch.Tensor, weight_ocdhw: torch.Tensor, y_ndhwo: torch.Tensor) -> None:
    """Writes y, of stride 1 and edges padded with zeros by half a kernel."""
    n, d, h, w, c = x_ndhwc.shape
    sizes, outputs = _sizes(weight_ocdhw)
    grid = (triton.cdiv(d * h * w, _TILE_PLACES), n, triton.cdiv(sizes["OUT"], outputs))
    device.forward_kernel[grid](
        x_ndhwc, weight_ocdhw, y_ndhwo, d, h, w, C=c, TILE_O=outputs, TILE_P=_TILE_PLACES, **sizes
    )


def weights(x_ndhwc: torch.Tensor, dy_ndhwo: torch.Tensor, like_ocdhw: torch.Tensor) -> torch.Tensor:
    """The gradient of the weights, of their shape and type; float32 sums in a fixed order."""
    n, d, h, w, c = x_ndhwc.shape
    sizes, outputs = _sizes(like_ocdhw)
    tiles = triton.cdiv(d * h * w, _TILE_PLACES)
    part_places = max(1, triton.cdiv(tiles * n, _PROGRAMS)) * _TILE_PLACES
    parts = triton.cdiv(d * h * w, part_places)
    sums_pko = torch.empty(n * parts, sizes["K"], sizes["OUT"], dtype=torch.float32, device=x_ndhwc.device)
    device.weights_kernel[(parts, n, triton.cdiv(sizes["OUT"], outputs))](
        x_ndhwc, dy_ndhwo, sums_pko, d, h, w, part_places, C=c, TILE_O=outputs, TILE_P=_TILE_PLACES, **sizes
    )
    taps = like_ocdhw[0].numel()
    return sums_pko.sum(0)[:taps].t().reshape(like_ocdhw.shape).to(like_ocdhw.dtype)


def _sizes(weight_ocdhw: torch.Tensor) -> tuple[dict[str, int], int]:
    o, _, kd, kh, kw = weight_ocdhw.shape
    padded = max(16, triton.next_power_of_2(weight_ocdhw[0].numel()))
    return {"KD": kd, "KH": kh, "KW": kw, "K": padded, "OUT": o}, max(
        16, min(_MAX_OUTPUTS, triton.next_power_of_2(o))
    )

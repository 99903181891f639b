"""Times the fused norm and activation against PyTorch's own: `python -m voxelburst.kernels.bench`.

What is timed: InstanceNorm3d + LeakyReLU alone, bfloat16 values and float32 parameters as in mixed-precision
training; forward, and forward + backward. Each is one CUDA graph, so that the time is the GPU's and not that
of its launches from Python; the L2 cache is overwritten before each replay; the median of the replays counts.

GB/s is the bytes that the fused kernel's passes have to move (forward: x twice, y once; backward: x and dy
twice, dx once) over the time of whoever is timed, so rates compare as times do. The share is of the rate of a
device-to-device copy in the same run, bytes read and written counted. A share above 100 % means that the
second pass found a part of x in the cache.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from .norm_activation import EPS, SLOPE, instance_norm_leaky_relu

SHAPES = (
    (2, 32, 128, 128, 128),
    (8, 32, 128, 128, 128),
    (2, 64, 64, 64, 64),
    (7, 32, 40, 56, 40),
    (2, 320, 8, 8, 8),
)
_FORWARD_PASSES, _BACKWARD_PASSES = 3, 5
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

Function = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    shape: tuple[int, ...]
    name: str
    what: str
    milliseconds: float
    gigabytes_per_second: float
    share_of_copy: float


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m voxelburst.kernels.bench",
        description="Times the fused InstanceNorm3d + LeakyReLU against PyTorch's own, on a GPU.",
    )
    parser.add_argument("--dtype", choices=_DTYPES, default="bf16")
    parser.add_argument("--replays", type=int, default=50, help="replays whose median counts (default 50)")
    parser.add_argument("--tilings", action="store_true", help="time other cuts of the work too (fused only)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("There is no CUDA device here: nothing was measured.", file=sys.stderr)
        return 2
    copy_rate = _copy_gigabytes_per_second(options.replays)
    machine = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "dtype": options.dtype,
        "copyGBPerSecond": round(copy_rate, 1),
    }
    if not options.json:
        print(" · ".join(f"{name} {value}" for name, value in machine.items()))
        print(f"{'shape':>20}  {'implementation':<34} {'what':<18} {'ms':>9} {'GB/s':>8} {'of copy':>8}")
    rows = []
    for shape in SHAPES:
        for row in _time_shape(shape, _DTYPES[options.dtype], copy_rate, options.replays, options.tilings):
            rows.append(row)
            if not options.json:
                _print(row)
    if options.json:
        print(json.dumps({**machine, "rows": [dataclasses.asdict(row) for row in rows]}))
    return 0


def _time_shape(
    shape: tuple[int, ...], dtype: torch.dtype, copy_rate: float, replays: int, tilings: bool
) -> Iterable[Row]:
    bytes_a_pass = math.prod(shape) * dtype.itemsize
    functions: list[tuple[str, Function, torch.memory_format]] = [
        ("eager NCDHW", _eager, torch.contiguous_format),
        ("eager NDHWC", _eager, torch.channels_last_3d),
        ("torch.compile NCDHW", torch.compile(_eager, dynamic=False), torch.contiguous_format),
        ("torch.compile NDHWC", torch.compile(_eager, dynamic=False), torch.channels_last_3d),
        ("fused NDHWC", instance_norm_leaky_relu, torch.channels_last_3d),
    ]
    for name, function, memory_format in functions:
        # torch.compile gives up, in silence, at the eighth shape of one function.
        torch.compiler.reset()
        for what, milliseconds in _time_function(function, shape, dtype, memory_format, replays).items():
            passes = _FORWARD_PASSES + (_BACKWARD_PASSES if "backward" in what else 0)
            yield _row(shape, name, what, milliseconds, passes * bytes_a_pass, copy_rate)
    if tilings:
        for name, what, milliseconds in _time_tilings(shape, dtype, replays):
            passes = _BACKWARD_PASSES if what == "backward" else _FORWARD_PASSES
            yield _row(shape, name, what, milliseconds, passes * bytes_a_pass, copy_rate)


def _eager(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return nn.functional.leaky_relu(nn.functional.instance_norm(x, weight=weight, bias=bias, eps=EPS), SLOPE)


def _arrays(
    shape: tuple[int, ...], dtype: torch.dtype, memory_format: torch.memory_format
) -> tuple[torch.Tensor, ...]:
    """x, dy, weight, bias. Random: zeros can run faster than data do."""
    x, dy = (
        torch.randn(shape, device="cuda", dtype=dtype).contiguous(memory_format=memory_format)
        for _ in range(2)
    )
    weight, bias = torch.randn(2, shape[1], device="cuda").unbind()
    return x, dy, weight.clone(), bias.clone()


def _time_function(
    function: Function,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    replays: int,
) -> dict[str, float]:
    x, dy, weight, bias = _arrays(shape, dtype, memory_format)
    leaves = tuple(tensor.requires_grad_() for tensor in (x, weight, bias))

    def forward() -> Any:
        # With gradients asked for, so that what the backward needs is kept, as in training.
        return function(*leaves)

    def both() -> Any:
        return torch.autograd.grad(function(*leaves), leaves, dy)

    return {
        "forward": _median_milliseconds(forward, replays),
        "forward + backward": _median_milliseconds(both, replays),
    }


def _time_tilings(
    shape: tuple[int, ...], dtype: torch.dtype, replays: int
) -> Iterable[tuple[str, str, float]]:
    from . import norm_activation_triton as kernels

    x, dy, weight, bias = _arrays((shape[0], math.prod(shape[2:]), shape[1]), dtype, torch.contiguous_format)
    weight, bias = torch.randn(2, shape[1], device="cuda").unbind()
    result = torch.empty_like(x)
    mean, rstd, dweight, dbias = torch.empty(4, shape[0], shape[1], device="cuda").unbind()
    small = math.prod(shape[2:]) <= kernels.DEFAULT.small_places
    variants = [{}, {"tile_elements": 1024}, {"tile_elements": 4096}, {"tile_elements": 4096, "warps": 8}]
    variants += (
        [{"small_places": 0}] if small else [{"apply_tiles": 1}, {"apply_tiles": 16}, {"min_tiles": 16}]
    )
    for changes in variants:
        tiling = dataclasses.replace(kernels.DEFAULT, **changes)
        name = "kernels " + (
            ", ".join(f"{field}={value}" for field, value in changes.items()) or "as they are"
        )

        def forward(tiling: kernels.Tiling = tiling) -> None:
            kernels.forward(
                x, weight, bias, EPS, SLOPE, y_nsc=result, mean_nc=mean, rstd_nc=rstd, tiling=tiling
            )

        def backward(tiling: kernels.Tiling = tiling) -> None:
            kernels.backward(
                dy, x, weight, bias, mean, rstd, SLOPE,
                dx_nsc=result, dweight_nc=dweight, dbias_nc=dbias, tiling=tiling,
            )  # fmt: skip

        yield name, "forward", _median_milliseconds(forward, replays)
        yield name, "backward", _median_milliseconds(backward, replays)


def _median_milliseconds(work: Callable[[], Any], replays: int) -> float:
    """Median time of one replay of the work as a CUDA graph, from a cold L2 cache."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # compiles, and makes the handles that a capture must not make
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        kept = work()
    graph.replay()
    # Over twice the L2 of any card so far.
    flush = torch.empty(2**28, dtype=torch.uint8, device="cuda")
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(replays)]
    for start, end in events:
        flush.zero_()
        start.record()
        graph.replay()
        end.record()
    torch.cuda.synchronize()
    del kept
    times = sorted(start.elapsed_time(end) for start, end in events)
    return times[len(times) // 2]


def _copy_gigabytes_per_second(replays: int) -> float:
    """The rate of a copy of 1 GiB on the device, bytes read and bytes written both counted."""
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    milliseconds = _median_milliseconds(lambda: target.copy_(source), replays)
    return 2 * source.nbytes / milliseconds / 1e6


def _row(
    shape: tuple[int, ...], name: str, what: str, milliseconds: float, moved_bytes: int, copy_rate: float
) -> Row:
    rate = moved_bytes / milliseconds / 1e6
    return Row(
        shape=shape,
        name=name,
        what=what,
        milliseconds=round(milliseconds, 4),
        gigabytes_per_second=round(rate, 1),
        share_of_copy=round(rate / copy_rate, 3),
    )


def _print(row: Row) -> None:
    shape = "x".join(map(str, row.shape))
    print(
        f"{shape:>20}  {row.name:<34} {row.what:<18} {row.milliseconds:>9.4f} "
        f"{row.gigabytes_per_second:>8.0f} {row.share_of_copy:>8.0%}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())

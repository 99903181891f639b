"""The `dali` loader: the same samples as the `torch` loader's, augmented by DALI on the GPU or on the CPU.

Regions and drawn parameters come in through an external source, prepared by worker processes; a transform
that no sample of a batch drew costs nothing (DALI's conditionals split a batch). Axes: d h w space, c channel
last as DALI has it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from .. import dali, host
from .batch import Batch, LoaderOptions
from .cases import Cases, noise
from .draws import ChannelDraw, Draw, Sampling
from .torch_loader import keys_of, low_resolution_shape

# The transforms of one channel, in the order of recipe.md's list.
_BLUR, _BRIGHTNESS, _CONTRAST, _ZOOM, _INVERTED_GAMMA, _GAMMA = range(6)
_NO_MATRIX = np.eye(3, 4, dtype=np.float32)
_NO_NOISE = np.zeros((1, 1, 1, 1), np.float32)


def batches(cases: Cases, sampling: Sampling, options: LoaderOptions) -> Generator[Batch, None, None]:
    """Batches from a step on, without end: the positions of this rank alone."""
    on_gpu = options.device.type == "cuda"
    # Before DALI has threads, which a forked process would lack.
    with contextlib.closing(_source(cases, sampling, options)) as source:
        pipeline = _pipeline(source, sampling, options)
        pipeline.build()
        from nvidia.dali.plugin.pytorch.torch_utils import to_torch_tensor

        stream = torch.cuda.current_stream(options.device) if on_gpu else None
        while True:
            image, label = (to_torch_tensor(output.as_tensor(), copy=True) for output in pipeline.run(stream))
            yield Batch(image_ncdhw=image.movedim(-1, 1).contiguous(), label_ndhw=label.squeeze(-1))


class _Inputs(Dataset):
    """The inputs of samples: regions, matrices and parameters."""

    def __init__(self, cases: Cases, sampling: Sampling, options: LoaderOptions) -> None:
        self._cases, self._sampling, self._options = cases, sampling, options

    def __getitem__(self, key: tuple[int, int]) -> tuple[NDArray, ...]:
        sampling = self._sampling
        draw = sampling.draw(*key, self._cases.shapes, self._cases.foreground)
        if not self._options.augment:
            draw = draw.plain()
        region = self._cases.region(draw, sampling.patch)
        noisy = draw.noise_sigma is not None
        flags, values, small = _packed(draw, sampling)
        return (
            np.moveaxis(region.image_cdhw, 0, -1),
            region.label_dhw[..., None],
            np.array(region.matrix_dhw is not None),
            _matrix_xyz(region.matrix_dhw) if region.matrix_dhw is not None else _NO_MATRIX,
            np.array(noisy),
            noise(draw, sampling.patch)[..., None] if noisy else _NO_NOISE,
            np.array(draw.noise_sigma or 0.0, np.float32),
            flags,
            values,
            small,
            np.array(draw.mirror, np.int32),
        )


_ALIGNMENT = 64


def _joined(samples: Sequence[tuple[NDArray, ...]]) -> tuple[torch.Tensor, list[list[tuple[Any, ...]]]]:
    """A batch's arrays in one tensor, which a process hands over at once, and where each of them lies."""
    layout: list[list[tuple[Any, ...]]] = []
    end = 0
    for sample in samples:
        layout.append([])
        for array in sample:
            layout[-1].append((end, array.nbytes, array.shape, array.dtype.str))
            end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    memory = torch.empty(end, dtype=torch.uint8)
    views = _views(memory, layout)
    for sample, into in zip(samples, views, strict=True):
        for array, view in zip(sample, into, strict=True):
            view[...] = array
    return memory, layout


def _views(memory: torch.Tensor, layout: list[list[tuple[Any, ...]]]) -> list[list[NDArray]]:
    """The arrays of each sample."""
    buffer = memory.numpy()
    return [
        [buffer[start : start + size].view(dtype).reshape(shape) for start, size, shape, dtype in sample]
        for sample in layout
    ]


def _source(
    cases: Cases, sampling: Sampling, options: LoaderOptions
) -> Generator[tuple[list[NDArray], ...], None, None]:
    """The inputs of each step's batch, a list of samples' arrays each; prepared by processes beside a GPU.

    They end when it is closed. DALI keeps a pipeline and its source to the end of Python, where each process
    would be waited for five seconds.
    """
    samples = DataLoader(
        _Inputs(cases, sampling, options),
        batch_sampler=keys_of(options),
        num_workers=options.workers,
        prefetch_factor=2 if options.workers else None,
        collate_fn=_joined,
    )
    batches = iter(samples)  # starts the processes
    return (
        tuple(list(column) for column in zip(*_views(memory, layout), strict=True))
        for memory, layout in batches
    )


def _matrix_xyz(matrix_dhw: NDArray[np.float32]) -> NDArray[np.float32]:
    """The matrix in DALI's coordinates: x, y, z, the centre of the first voxel at one half."""
    linear, shift = matrix_dhw[::-1, 2::-1], matrix_dhw[::-1, 3]
    return np.concatenate([linear, (shift + 0.5 - linear.sum(1) / 2)[:, None]], 1)


def _packed(
    draw: Draw, sampling: Sampling
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
    """For each channel: which transforms it drew, their values, and the shape that low-res goes through.

    values: blur's sigma of each axis, brightness, contrast, inverted gamma, gamma.
    """

    def flags(c: ChannelDraw) -> list[bool]:
        drawn = (c.blur_sigma, c.brightness, c.contrast, c.zoom, c.inverted_gamma, c.gamma)
        return [value is not None for value in drawn]

    def values(c: ChannelDraw) -> list[float]:
        factors = (c.brightness, c.contrast, c.inverted_gamma, c.gamma)
        return [*(c.blur_sigma or (0.0, 0.0, 0.0)), *(1.0 if f is None else f for f in factors)]

    return (
        np.array([flags(c) for c in draw.channels]),
        np.array([values(c) for c in draw.channels], np.float32),
        np.array(
            [low_resolution_shape(sampling.patch, c.zoom or 1.0, sampling.dummy2d) for c in draw.channels],
            np.float32,
        ),
    )


def _pipeline(source: Iterator[Any], sampling: Sampling, options: LoaderOptions) -> Any:
    fn, types, pipeline_def = dali.modules().fn, dali.modules().types, dali.modules().pipeline_def
    on_gpu = options.device.type == "cuda"
    inputs = [
        ("DHWC", types.FLOAT),
        ("DHWC", types.INT8),
        ("", types.BOOL),
        ("", types.FLOAT),
        ("", types.BOOL),
        ("DHWC", types.FLOAT),
        ("", types.FLOAT),
        ("", types.BOOL),
        ("", types.FLOAT),
        ("", types.FLOAT),
        ("", types.INT32),
    ]

    def here(node: Any) -> Any:
        """On the device of the images: arithmetic there takes no operand from the other."""
        return node.gpu() if on_gpu else node

    @pipeline_def(
        batch_size=len(options.positions),
        num_threads=min(4, host.cpus()),
        device_id=options.device.index or 0 if on_gpu else None,
        enable_conditionals=True,
        # On the CPU there is nothing to overlap with: the same cores augment and train.
        prefetch_queue_depth=2 if on_gpu else 1,
    )
    def graph() -> Any:
        image, label, warped, matrix, noisy, field, sigma, flags, values, small, mirror = fn.external_source(
            source=source,
            num_outputs=len(inputs),
            batch=True,
            layout=[layout for layout, _ in inputs],
            dtype=[dtype for _, dtype in inputs],
        )
        image, label = here(image), here(label)
        if warped:
            image, label = _warped(image, label, matrix, sampling, options.classes)
        if noisy:
            image = image + here(field) * here(sigma)
        channels = []
        for c in range(sampling.channels):
            channel = image[:, :, :, c : c + 1] if sampling.channels > 1 else image
            factors = here(values)
            if flags[c, _BLUR]:
                channel = fn.gaussian_blur(channel, sigma=values[c, 0:3])
            if flags[c, _BRIGHTNESS]:
                channel = channel * factors[c, 3]
            if flags[c, _CONTRAST]:
                channel = _contrast(channel, factors[c, 4])
            if flags[c, _ZOOM]:
                channel = _low_resolution(channel, small[c], sampling)
            if flags[c, _INVERTED_GAMMA]:
                channel = -_gamma(-channel, factors[c, 5])
            if flags[c, _GAMMA]:
                channel = _gamma(channel, factors[c, 6])
            channels.append(channel)
        image = fn.cat(*channels, axis=-1) if len(channels) > 1 else channels[0]
        flips = {"depthwise": mirror[0], "vertical": mirror[1], "horizontal": mirror[2]}
        image = fn.flip(image, **flips)
        label = fn.flip(label, **flips)
        if any(options.masked):
            inside = fn.cast(label >= 0, dtype=types.FLOAT)
            keep = np.array([0.0 if masked else 1.0 for masked in options.masked], np.float32)
            image = image * dali.modules().math.max(inside, here(types.Constant(keep)))
        label = fn.cast(dali.modules().math.max(label, 0), dtype=types.UINT8)
        return image, label

    return graph()


def _warped(image: Any, label: Any, matrix: Any, sampling: Sampling, classes: int) -> tuple[Any, Any]:
    """Trilinear image, zero outside; one-hot trilinear argmax label, -1 outside."""
    fn, types, math = dali.modules().fn, dali.modules().types, dali.modules().math
    # Compared class by class: DALI's reshape of a one-hot volume fails on the GPU behind a conditional.
    one_hot = [fn.cast(label == k, dtype=types.FLOAT) for k in range(classes)]
    planes = fn.cat(image, *one_hot, axis=-1)
    planes = fn.warp_affine(
        planes, matrix=matrix, size=list(sampling.patch), fill_value=0.0, interp_type=types.INTERP_LINEAR
    )
    first = sampling.channels
    shares = [planes[:, :, :, first + k : first + k + 1] for k in range(classes)]
    best, total = shares[0], shares[0]
    winner = fn.cast(best * 0, dtype=types.INT8)
    for k in range(1, classes):
        better = shares[k] > best
        winner = fn.cast(better * k + (better ^ True) * winner, dtype=types.INT8)
        best, total = math.max(best, shares[k]), total + shares[k]
    outside = total < 0.5
    winner = fn.cast((outside ^ True) * winner - outside * 1, dtype=types.INT8)
    return planes[:, :, :, 0 : sampling.channels], winner


def _contrast(image: Any, factor: Any) -> Any:
    reductions = dali.modules().fn.reductions
    mean = reductions.mean(image)
    changed = (image - mean) * factor + mean
    return dali.modules().math.clamp(changed, reductions.min(image), reductions.max(image))


def _low_resolution(image: Any, size: Any, sampling: Sampling) -> Any:
    fn, types = dali.modules().fn, dali.modules().types
    small = fn.resize(image, size=size, interp_type=types.INTERP_NN, antialias=False)
    return fn.resize(small, size=list(sampling.patch), interp_type=types.INTERP_LINEAR, antialias=False)


def _gamma(image: Any, gamma: Any) -> Any:
    """The range to the power of gamma, then mean and standard deviation as before."""
    reductions, math = dali.modules().fn.reductions, dali.modules().math
    mean = reductions.mean(image)
    std = reductions.std_dev(image, mean)
    low = reductions.min(image)
    extent = math.max(reductions.max(image) - low, 1e-7)
    curved = math.pow((image - low) / extent, gamma) * extent + low
    mean_curved = reductions.mean(curved)
    std_curved = math.max(reductions.std_dev(curved, mean_curved), 1e-7)
    return (curved - mean_curved) / std_curved * std + mean

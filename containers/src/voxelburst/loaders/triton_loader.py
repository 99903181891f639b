"""The `triton` loader: the same draws as the other loaders', cut and augmented on the GPU for a batch at
once.

The cases' arrays stay on the GPU where they fit; where they do not, threads cut the regions of the next
batches out of memory (or of memory-mapped files) while the GPU works, and a stream of its own copies them.
What a batch drew goes up as one small array, and the kernels are launched the same way whatever it holds.
Nothing waits for the GPU but the reuse of a slot some batches later.

The noise comes from Philox on the GPU, by the draw's own seed: another field than the CPU loaders', of the
same distribution. Axes: n sample, c channel, d h w space.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import psutil
import torch

from .. import host
from ..contract import Zyx, frozen
from ..kernels import augment_kernels as device
from ..kernels.augment_triton import Augmenter, write_row
from .batch import Batch, LoaderOptions
from .cases import Cases, Region
from .draws import ChannelDraw, Draw, Sampling
from .torch_loader import low_resolution_shape

# What the network and its activations will need of the GPU is not known yet: arrays take a third at most.
RESIDENT_SHARE = 1 / 3
# Batches under way: one that the GPU works on, one that waits, one that is being written.
_SLOTS = 3


def batches(cases: Cases, sampling: Sampling, options: LoaderOptions) -> Generator[Batch, None, None]:
    """Batches from a step on, without end: the positions of this rank alone.

    A batch's tensors are the same memory each time. It is valid until the next one is asked for, on the
    stream that is current then.
    """
    augmenter = Augmenter(
        len(options.positions), sampling.patch, options.classes, options.masked, options.device
    )
    batch = Batch(image_ncdhw=augmenter.image_ncdhw, label_ndhw=augmenter.label_ndhw)
    resident = options.resident and fits(cases, options.device)
    for _ in (_resident if resident else _streamed)(cases, sampling, options, augmenter):
        yield batch


def fits(cases: Cases, where: torch.device) -> bool:
    """Whether the cases' images (float32) and labels stay on the GPU."""
    wanted = sum(image.size * 4 for image in cases.images) + sum(label.size for label in cases.labels)
    free = torch.cuda.mem_get_info(where)[0] if where.type == "cuda" else psutil.virtual_memory().available
    return wanted <= RESIDENT_SHARE * free


@frozen
class _Table:
    """Where each case begins in the flat arrays."""

    image_at: list[int]
    label_at: list[int]


class _Slot:
    """One batch's rows on the host, and when the GPU has read them."""

    def __init__(self, augmenter: Augmenter, where: torch.device) -> None:
        on_gpu = where.type == "cuda"
        self.memory = torch.zeros(augmenter.rows.bytes, dtype=torch.uint8, pin_memory=on_gpu)
        self.ints, self.reals = (view.numpy() for view in augmenter.rows.views(self.memory))
        self.read = torch.cuda.Event() if on_gpu else None
        self.image = torch.empty(0, pin_memory=on_gpu)
        self.label = torch.empty(0, dtype=torch.int8, pin_memory=on_gpu)

    def wait(self) -> None:
        """Until the GPU has read what the slot held before."""
        if self.read:
            self.read.synchronize()


def _resident(
    cases: Cases, sampling: Sampling, options: LoaderOptions, augmenter: Augmenter
) -> Iterator[None]:
    """Every case on the GPU: a batch is its rows and one graph of launches."""
    where = options.device
    image, label, table = _flat(cases, where)
    slots = [_Slot(augmenter, where) for _ in range(_SLOTS)]
    graph: torch.cuda.CUDAGraph | None = None
    step = options.first_step
    while True:
        slot = slots[step % _SLOTS]
        slot.wait()
        for row, position in enumerate(options.positions):
            draw = _drawn(cases, sampling, options, step, position)
            _write(slot, row, draw, sampling, table.image_at[draw.case], table.label_at[draw.case],
                   cases.shapes[draw.case], draw.start, _matrix_of_case(draw, sampling.patch))  # fmt: skip
        augmenter.memory.copy_(slot.memory, non_blocking=True)
        if slot.read:
            slot.read.record()
        if graph is not None:
            graph.replay()
        else:
            augmenter.launch(image, label)  # compiles
            if where.type == "cuda":
                graph = _captured(augmenter, image, label)
        yield
        step += 1


def _captured(augmenter: Augmenter, image: torch.Tensor, label: torch.Tensor) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        augmenter.launch(image, label)
    return graph


def _flat(cases: Cases, where: torch.device) -> tuple[torch.Tensor, torch.Tensor, _Table]:
    """All images (float32) and labels (int8), one behind the other."""
    image_at = np.cumsum([0, *(image.size for image in cases.images)]).tolist()
    label_at = np.cumsum([0, *(label.size for label in cases.labels)]).tolist()
    image = torch.empty(image_at[-1], device=where)
    label = torch.empty(label_at[-1], dtype=torch.int8, device=where)
    for i in range(len(cases)):
        image[image_at[i] : image_at[i + 1]] = torch.from_numpy(np.array(cases.images[i], np.float32).ravel())
        label[label_at[i] : label_at[i + 1]] = torch.from_numpy(np.array(cases.labels[i], np.int8).ravel())
    return image, label, _Table(image_at=image_at, label_at=label_at)


def _streamed(
    cases: Cases, sampling: Sampling, options: LoaderOptions, augmenter: Augmenter
) -> Iterator[None]:
    """Only the regions of a batch on the GPU, cut by threads ahead of it."""
    where = options.device
    copies = torch.cuda.Stream(where) if where.type == "cuda" else None
    slots = [_Slot(augmenter, where) for _ in range(_SLOTS)]
    ahead: deque[Future[tuple[int, int]]] = deque()
    step = options.first_step
    with ThreadPoolExecutor(max(2, min(8, host.cpus())), "regions") as threads:

        def cut(step: int) -> tuple[int, int]:
            slot = slots[step % _SLOTS]
            slot.wait()
            return _cut_batch(cases, sampling, options, threads, slot, step)

        with ThreadPoolExecutor(1, "batches") as writer:
            for later in range(_SLOTS - 1):
                ahead.append(writer.submit(cut, step + later))
            try:
                while True:
                    image_size, label_size = ahead.popleft().result()
                    slot = slots[step % _SLOTS]
                    image, label = _copied(slot, image_size, label_size, augmenter, copies, where)
                    # The copy of this batch is under way: its slot is free for the third one from here.
                    ahead.append(writer.submit(cut, step + _SLOTS - 1))
                    augmenter.launch(image, label)
                    yield
                    step += 1
            finally:
                for future in ahead:
                    future.cancel()


def _copied(
    slot: _Slot,
    image_size: int,
    label_size: int,
    augmenter: Augmenter,
    copies: torch.cuda.Stream | None,
    where: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The slot's regions on the GPU, by a stream that does not wait for the training's kernels."""
    if copies is None:
        augmenter.memory.copy_(slot.memory)
        return slot.image[:image_size], slot.label[:label_size]
    current = torch.cuda.current_stream(where)
    with torch.cuda.stream(copies):
        image = slot.image[:image_size].to(where, non_blocking=True)
        label = slot.label[:label_size].to(where, non_blocking=True)
    current.wait_stream(copies)
    image.record_stream(current)
    label.record_stream(current)
    augmenter.memory.copy_(slot.memory, non_blocking=True)
    assert slot.read is not None
    slot.read.record()
    return image, label


def _cut_batch(
    cases: Cases,
    sampling: Sampling,
    options: LoaderOptions,
    threads: ThreadPoolExecutor,
    slot: _Slot,
    step: int,
) -> tuple[int, int]:
    """Writes a batch's regions and rows into a slot; how many image and label elements it has."""
    draws = [_drawn(cases, sampling, options, step, position) for position in options.positions]
    regions = list(threads.map(lambda draw: cases.region(draw, sampling.patch), draws))
    image_at = np.cumsum([0, *(region.image_cdhw.size for region in regions)]).tolist()
    label_at = np.cumsum([0, *(region.label_dhw.size for region in regions)]).tolist()
    if len(slot.image) < image_at[-1]:
        pinned = options.device.type == "cuda"
        slot.image = torch.empty(image_at[-1], pin_memory=pinned)
        slot.label = torch.empty(label_at[-1], dtype=torch.int8, pin_memory=pinned)
    if len(slot.label) < label_at[-1]:
        slot.label = torch.empty(label_at[-1], dtype=torch.int8, pin_memory=options.device.type == "cuda")
    image, label = slot.image.numpy(), slot.label.numpy()

    def copy(row: int) -> None:
        region: Region = regions[row]
        part = image[image_at[row] : image_at[row + 1]]
        np.copyto(part.reshape(region.image_cdhw.shape), region.image_cdhw)
        np.copyto(label[label_at[row] : label_at[row + 1]].reshape(region.label_dhw.shape), region.label_dhw)

    list(threads.map(copy, range(len(regions))))
    for row, (draw, region) in enumerate(zip(draws, regions, strict=True)):
        d, h, w = region.label_dhw.shape
        _write(slot, row, draw, sampling, image_at[row], label_at[row], (d, h, w), (0, 0, 0),
               region.matrix_dhw)  # fmt: skip
    return image_at[-1], label_at[-1]


def _drawn(cases: Cases, sampling: Sampling, options: LoaderOptions, step: int, position: int) -> Draw:
    draw = sampling.draw(step, position, cases.shapes, cases.foreground)
    return draw if options.augment else draw.plain()


def _matrix_of_case(draw: Draw, patch: Zyx) -> np.ndarray | None:
    """3x4, from the patch's voxel to the case's."""
    if draw.matrix is None:
        return None
    half = (np.array(patch) - 1) / 2
    shift = np.array(draw.start) + half - draw.matrix @ half
    return np.concatenate([draw.matrix, shift[:, None]], 1).astype(np.float32)


def _write(
    slot: _Slot,
    row: int,
    draw: Draw,
    sampling: Sampling,
    image_at: int,
    label_at: int,
    shape: Zyx,
    start: Zyx,
    matrix_dhw: np.ndarray | None,
) -> None:
    write_row(
        slot.ints[row],
        slot.reals[row],
        image_at=image_at,
        label_at=label_at,
        shape=shape,
        start=start,
        matrix_dhw=matrix_dhw,
        noise=None if draw.noise_sigma is None else (draw.noise_sigma, draw.noise_seed),
        mirror=draw.mirror,
        channels=[_channel(change, sampling) for change in draw.channels],
    )


def _channel(change: ChannelDraw, sampling: Sampling) -> tuple[int, list[int], list[float]]:
    """Flags, low resolution's shape and the seven reals of a channel."""
    drawn = (
        (device.BLUR, change.blur_sigma),
        (device.BRIGHTNESS, change.brightness),
        (device.CONTRAST, change.contrast),
        (device.ZOOM, change.zoom),
        (device.INVERTED_GAMMA, change.inverted_gamma),
        (device.GAMMA, change.gamma),
    )
    flags = sum(bit.value for bit, value in drawn if value is not None)
    small = low_resolution_shape(sampling.patch, change.zoom or 1.0, sampling.dummy2d)
    factors = (change.brightness, change.contrast, change.inverted_gamma, change.gamma)
    return flags, small, [*(change.blur_sigma or (0.0, 0.0, 0.0)), *(f or 1.0 for f in factors)]

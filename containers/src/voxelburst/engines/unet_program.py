"""A trained U-Net as a list of kernel launches over buffers of its own, in fp16 or with 8 bits between them.

8 bits hold the activations that convolutions read, with a scale a channel from calibration; it is folded into
the weights, which have a scale an output channel. Sums, norms and what the last layer reads are wider.

Axes: n sample, c channel, k class, d h w space; buffers are (n, place, channel), see `unet_kernels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from ..contract import Zyx
from .unet_grid import Grid, Volume
from .unet_packing import TYPES, Scales, packed_weights, scale_of
from .unet_tilings import LONGEST_LINE, Tiling, candidates, default_tiling, line_block
from .unet_weights import EPS, SLOPE, Conv, Norm, UNet

# Rows of places that a tile may read behind the last sample.
_GUARD_PLACES = 512
_STATISTICS_TILES = 128
# Sums of more tiles are folded into chunks first, by as many programs.
_TILES_TO_FOLD, _CHUNKS = 512, 32
# Places that the smallest of `candidates` computes.
_SMALLEST_TILE = 62


def unsupported(unet: UNet, precision: str) -> str | None:
    """Why these kernels cannot run a network; None when they can."""
    # What a matrix instruction sums at once.
    step = 16 if precision == "fp16" else 32
    blocks = [*unet.encoder, *(block for _, block in unet.decoder)]
    for block in blocks:
        if block.width % step:
            return f"its kernels in {precision} take multiples of {step} channels, not {block.width}"
        for conv in (block.conv1, block.conv2):
            if any(edge not in (1, 3) for edge in conv.kernel):
                return f"its kernels are 1 or 3 wide, the network has {conv.kernel}"
    channels = unet.encoder[0].conv1.weight.shape[1]
    return f"it takes at most 8 input channels, not {channels}" if channels > 8 else None


class Program:
    """The launches of one network for windows of one size.

    Attributes:
        windows_ncdhw: the input's buffer, float32. logits_nkdhw: the output's, float32.
        steps: (name, launch of a number of samples), in order. written: the stored activations, by the step
            that writes them. operations: of each step, floating-point, for one window. keys: of `tunable`, to
            one of the steps that it decides.
    """

    def __init__(
        self,
        unet: UNet,
        patch: Zyx,
        batch: int,
        precision: str,
        device: torch.device,
        scales: Scales | None = None,
        tilings: dict[str, Tiling] | None = None,
    ) -> None:
        """scales: amplitude of each channel of what `written` names, for 8 bits; see `amplitudes`."""
        self.precision, self.batch, self.device = precision, batch, device
        self.steps: list[tuple[str, Callable[[int], None]]] = []
        self.written: list[Volume] = []
        self.operations: dict[str, float] = {}
        self._type = TYPES[precision]
        self._scales, self._tilings = scales or {}, tilings or {}
        self.keys: dict[str, str] = {}
        self._compiling = False
        self._options: dict[str, tuple[int, int, bool, bool, bool]] = {}
        self._buffers: dict[tuple[str, Grid, int], torch.Tensor] = {}
        self._build(unet, patch)

    def run(self, samples: int) -> None:
        for _, launch in self.steps:
            launch(samples)

    def compile(self, tilings: Iterable[tuple[str, Tiling]], threads: int) -> None:
        """Compiles every kernel, also with the tilings for their keys, side by side; runs none."""
        import triton

        launches, self._compiling = dict(self.steps), True
        chosen = dict(self._tilings)
        try:
            with (
                ThreadPoolExecutor(threads, "compile") as pool,
                triton.AsyncCompileMode(pool, ignore_errors=True),
            ):
                self.run(self.batch)
                for key, tiling in tilings:
                    self._tilings[key] = tiling
                    launches[self.keys[key]](self.batch)
        finally:
            self._compiling, self._tilings = False, chosen

    def _launch(self, kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
        if self._compiling:
            kernel.warmup(*arguments, grid=grid, **options)
        else:
            kernel[grid](*arguments, **options)

    def amplitudes(self, calls: Iterable[torch.Tensor]) -> Scales:
        """The largest magnitude of each channel of every stored activation over batches of windows_ncdhw."""
        found = {volume.name: torch.zeros(volume.channels, device=self.device) for volume in self.written}
        by_step = {volume.name: volume for volume in self.written}
        for windows_ncdhw in calls:
            samples = len(windows_ncdhw)
            self.windows_ncdhw[:samples] = windows_ncdhw.to(self.device)
            for name, launch in self.steps:
                launch(samples)
                if volume := by_step.get(name):
                    largest = volume.inside(samples).float().abs().amax((0, 1, 2, 3))
                    found[name] = torch.maximum(found[name], largest)
        return {name: value.cpu() for name, value in found.items()}

    def tunable(self) -> list[tuple[str, list[Tiling]]]:
        """Convolutions and what to try for each; those of equal shapes share a key."""
        return [(key, candidates(*shape)) for key, shape in self._options.items()]

    def with_tilings(self, tilings: dict[str, Tiling]) -> None:
        """Used from the next launch on."""
        self._tilings.update(tilings)

    # Building: one method an operation, each adds its launch.

    def _build(self, unet: UNet, patch: Zyx) -> None:
        channels = unet.encoder[0].conv1.weight.shape[1]
        self.windows_ncdhw = torch.zeros((self.batch, channels, *patch), device=self.device)
        grids: list[Grid] = []
        for block in unet.encoder:
            before = grids[-1].shape_dhw if grids else patch
            d, h, w = (n // s for n, s in zip(before, block.conv1.stride, strict=True))
            grids.append(Grid((d, h, w)))
        # What two levels' features share: the decoder's half of a buffer, then the encoder's, as torch.cat.
        joined = [
            self._buffer(grid, 2 * block.width, self._type)
            for grid, block in zip(grids[:-1], unet.encoder[:-1], strict=True)
        ]
        # One for all: each convolution's sums are read before the next one's are written.
        largest = max(
            max(grid.tiles(_SMALLEST_TILE), grid.lines * -(-grid.row // LONGEST_LINE)) * block.width
            for grid, block in zip(grids, unet.encoder, strict=True)
        )
        self._sums = torch.zeros(self.batch * largest * 2, device=self.device)
        widest = max(block.width for block in unet.encoder)
        self._folded = torch.zeros(self.batch * _CHUNKS * 2 * widest, device=self.device)
        features: Volume | None = None
        for level, (block, grid) in enumerate(zip(unet.encoder, grids, strict=True)):
            raw = self._of("raw", grid, block.width)
            if features is None:
                self._stem(f"{level}.down.1", block.conv1, grid, raw)
            else:
                self._conv(f"{level}.down.1", block.conv1, features, raw)
            inner = self._of("inner", grid, block.width)
            inner = self._normalise(f"{level}.down.1.out", block.norm1, raw, inner)
            self._conv(f"{level}.down.2", block.conv2, inner, raw)
            target = (
                Volume("", grid, block.width, joined[level], at=block.width)
                if level < len(joined)
                else self._of("second", grid, block.width)
            )
            features = self._normalise(f"{level}.down.2.out", block.norm2, raw, target)
        assert features is not None
        for level, (up, block) in zip(reversed(range(len(joined))), unet.decoder, strict=True):
            grid = grids[level]
            half = Volume("", grid, block.width, joined[level])
            half = self._upsample(f"{level}.up.0", up, features, half)
            raw = self._of("raw", grid, block.width)
            both = Volume(f"{level}.joined", grid, 2 * block.width, joined[level])
            self._conv(f"{level}.up.1", block.conv1, both, raw, (half.name, f"{level}.down.2.out"))
            inner = self._of("inner", grid, block.width)
            inner = self._normalise(f"{level}.up.1.out", block.norm1, raw, inner)
            self._conv(f"{level}.up.2", block.conv2, inner, raw)
            if level > 0:
                second = self._of("second", grid, block.width)
                features = self._normalise(f"{level}.up.2.out", block.norm2, raw, second)
            else:
                self._head(unet.head, block.norm2, raw)

    def _buffer(self, grid: Grid, channels: int, dtype: torch.dtype) -> torch.Tensor:
        """Zeros: the borders of all samples keep them for good."""
        count = self.batch * grid.places + _GUARD_PLACES + 2 * grid.row
        # int8 first: not every operator knows the 8-bit floats, and zero is all bits off in each.
        flat = torch.zeros(count * channels * dtype.itemsize, dtype=torch.int8, device=self.device)
        return flat.view(dtype).view(count, channels)

    def _of(self, kind: str, grid: Grid, channels: int) -> Volume:
        """A buffer that the operations of a level use in turn: raw results, or what is stored of them."""
        key = (kind, grid, channels)
        if key not in self._buffers:
            self._buffers[key] = self._buffer(grid, channels, torch.float16 if kind == "raw" else self._type)
        return Volume("", grid, channels, self._buffers[key])

    def _tensor(self, values: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return values.detach().to(device=self.device, dtype=dtype).contiguous()

    def _stem(self, name: str, conv: Conv, grid: Grid, raw: Volume) -> None:
        from . import unet_kernels as kernels

        out, channels = conv.weight.shape[:2]
        kd, kh, kw = conv.kernel
        flat = conv.weight.detach().reshape(out, -1)
        block_k = max(16, 1 << (flat.shape[1] - 1).bit_length())
        weight = torch.zeros(out, block_k)
        weight[:, : flat.shape[1]] = flat.cpu()
        packed = self._tensor(weight, torch.float16)
        sums = self._sums
        block_n = next(size for size in (32, 16) if out % size == 0)
        d, h, w = grid.shape_dhw
        block_p = line_block(w)
        tiles = grid.lines * -(-w // block_p)

        def launch(samples: int) -> None:
            self._launch(
                kernels.stem, (tiles * (out // block_n), samples),
                self.windows_ncdhw, packed, raw.data, sums,
                grid.places, tiles, grid.row, grid.plane, d, h, w,
                C=channels, N=out, KD=kd, KH=kh, KW=kw, BP=block_p, BK=block_k, BN=block_n, num_warps=4,
            )  # fmt: skip

        self._pending = (sums, lambda: tiles)
        self._add(name, launch, 2 * flat.shape[1] * out * grid.voxels)

    def _conv(
        self, name: str, conv: Conv, source: Volume, raw: Volume, from_names: tuple[str, ...] = ()
    ) -> None:
        from . import unet_kernels as kernels

        out, channels = conv.weight.shape[:2]
        kd, kh, kw = conv.kernel
        sd, sh, sw = conv.stride
        shifted = conv.stride == (1, 1, 1) and kw == 3
        weight_tnc = conv.weight.permute(2, 3, 4, 0, 1).reshape(-1, out, channels)
        packed, scale = packed_weights(
            self.precision, self._scales, weight_tnc, from_names or (source.name,), self.device
        )
        sums = self._sums
        key = (
            f"{raw.grid.shape_dhw} {channels}/{source.pitch}->{out} {'shifted' if shifted else (sd, sh, sw)}"
        )
        grid, fine = raw.grid, source.grid
        pairs = shifted and kh == 3 and grid.shape_dhw[1] % 2 == 0
        self._options.setdefault(key, (channels, out, shifted, self.precision != "fp16", pairs))
        default = default_tiling(channels, out, shifted)
        _, h, w = grid.shape_dhw
        integer = self.precision == "int8"

        def tiling() -> tuple[Tiling, int]:
            chosen = self._tilings.get(key, default)
            if chosen.pairs:
                return chosen, -(-(grid.pairs - 1) // (chosen.places - 2))
            return chosen, grid.tiles(chosen.places - 2 if shifted else chosen.places)

        def launch(samples: int) -> None:
            chosen, tiles = tiling()
            blocks = tiles * (out // chosen.outputs)
            if chosen.pairs:
                self._launch(
                    kernels.conv_pairs, (blocks, samples),
                    source.data, packed, scale, raw.data, sums,
                    grid.places, grid.pairs, tiles, grid.row, grid.plane, h, w,
                    C=channels, PITCH=source.pitch, N=out, KD=kd, INTEGER=integer,
                    BP=chosen.places, BC=chosen.inputs, BN=chosen.outputs,
                    num_warps=chosen.warps, num_stages=chosen.stages, maxnreg=chosen.registers,
                )  # fmt: skip
                return
            self._launch(
                kernels.conv, (blocks, samples),
                source.data, packed, scale, raw.data, sums,
                grid.places, grid.first, grid.last, tiles, grid.row, grid.plane, h, w,
                fine.places, fine.row, fine.plane, sd, sh, sw,
                C=channels, PITCH=source.pitch, N=out, KD=kd, KH=kh, KW=kw, SHIFTED=shifted,
                INTEGER=integer, BP=chosen.places, BC=chosen.inputs, BN=chosen.outputs,
                num_warps=chosen.warps, num_stages=chosen.stages, maxnreg=chosen.registers,
            )  # fmt: skip

        self._pending = (sums, lambda: tiling()[1])
        self._add(name, launch, 2 * kd * kh * kw * channels * out * grid.voxels, key)

    def _statistics(
        self, norm: Norm, channels: int, grid: Grid
    ) -> tuple[Callable[[int], None], torch.Tensor, torch.Tensor]:
        from . import unet_kernels as kernels

        factor = torch.zeros(self.batch, channels, device=self.device)
        offset = torch.zeros_like(factor)
        weight, bias = self._tensor(norm.weight), self._tensor(norm.bias)
        sums, tiles_of = self._pending
        voxels = float(grid.voxels)

        def launch(samples: int) -> None:
            read, tiles = sums, tiles_of()
            if tiles > _TILES_TO_FOLD:
                chunk = -(-tiles // _CHUNKS)
                self._launch(
                    kernels.fold, (channels // 16, _CHUNKS, samples), sums, self._folded, tiles, chunk,
                    N=channels, BT=_STATISTICS_TILES, BN=16, num_warps=4,
                )  # fmt: skip
                read, tiles = self._folded, _CHUNKS
            self._launch(
                kernels.statistics, (channels // 16, samples),
                read, weight, bias, factor, offset, tiles, voxels, EPS,
                N=channels, BT=_STATISTICS_TILES, BN=16, num_warps=4,
            )  # fmt: skip

        return launch, factor, offset

    def _normalise(self, name: str, norm: Norm, raw: Volume, target: Volume) -> Volume:
        from . import unet_kernels as kernels

        grid, channels = raw.grid, raw.channels
        statistics, factor, offset = self._statistics(norm, channels, grid)
        inverse = self._tensor(1 / scale_of(self.precision, self._scales, name, channels))
        block_n = next(size for size in (64, 32, 16) if channels % size == 0)
        _, h, w = grid.shape_dhw
        block_p = line_block(w)
        blocks = grid.lines * -(-w // block_p) * (channels // block_n)
        volume = Volume(name, grid, channels, target.tensor, target.at)

        def launch(samples: int) -> None:
            statistics(samples)
            self._launch(
                kernels.normalise, (blocks, samples),
                raw.data, factor, offset, inverse, volume.data,
                grid.places, grid.row, grid.plane, h, w, SLOPE,
                N=channels, PITCH=volume.pitch, BP=block_p, BN=block_n, num_warps=4,
            )  # fmt: skip

        self.written.append(volume)
        self._add(name, launch, 0)
        return volume

    def _upsample(self, name: str, conv: Conv, source: Volume, target: Volume) -> Volume:
        from . import unet_kernels as kernels

        channels, out = conv.weight.shape[:2]
        sd, sh, sw = conv.stride
        taps = sd * sh * sw
        weight_tnc = conv.weight.permute(2, 3, 4, 1, 0).reshape(taps, out, channels)
        packed, scale = packed_weights(self.precision, self._scales, weight_tnc, (source.name,), self.device)
        bias = self._tensor(conv.bias if conv.bias is not None else torch.zeros(out))
        inverse = self._tensor(1 / scale_of(self.precision, self._scales, name, out))
        chosen = default_tiling(channels, out, False)
        coarse, fine = source.grid, target.grid
        _, h, w = coarse.shape_dhw
        block_p = line_block(w)
        blocks = coarse.lines * -(-w // block_p) * (out // chosen.outputs)
        volume = Volume(name, fine, out, target.tensor, target.at)

        def launch(samples: int) -> None:
            self._launch(
                kernels.upsample, (blocks, samples),
                source.data, packed, scale, bias, inverse, volume.data,
                coarse.places, coarse.row, coarse.plane, h, w, fine.places, fine.row, fine.plane,
                C=channels, N=out, PITCH=volume.pitch, SD=sd, SH=sh, SW=sw,
                INTEGER=self.precision == "int8", BP=block_p, BC=chosen.inputs, BN=chosen.outputs,
                num_warps=4, num_stages=3,
            )  # fmt: skip

        self.written.append(volume)
        self._add(name, launch, 2 * channels * out * fine.voxels)
        return volume

    def _head(self, conv: Conv, norm: Norm, raw: Volume) -> None:
        from . import unet_kernels as kernels

        grid, channels, classes = raw.grid, raw.channels, conv.weight.shape[0]
        statistics, factor, offset = self._statistics(norm, channels, grid)
        weight = self._tensor(conv.weight.reshape(classes, channels))
        bias = self._tensor(conv.bias if conv.bias is not None else torch.zeros(classes))
        d, h, w = grid.shape_dhw
        self.logits_nkdhw = torch.zeros((self.batch, classes, d, h, w), device=self.device)
        block_p, block_n = line_block(w), 1 << (channels - 1).bit_length()
        blocks = grid.lines * -(-w // block_p)

        def launch(samples: int) -> None:
            statistics(samples)
            self._launch(
                kernels.head, (blocks, samples),
                raw.data, factor, offset, weight, bias, self.logits_nkdhw,
                grid.places, grid.row, grid.plane, d, h, w, SLOPE,
                N=channels, CLASSES=classes, BP=block_p, BN=block_n, num_warps=4,
            )  # fmt: skip

        self._add("head", launch, 2 * channels * classes * grid.voxels)

    def _add(
        self, name: str, launch: Callable[[int], None], operations: float, key: str | None = None
    ) -> None:
        self.steps.append((name, launch))
        self.operations[name] = operations
        if key:
            self.keys.setdefault(key, name)

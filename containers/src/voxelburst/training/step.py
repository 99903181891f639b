"""One step of a training: forward, loss, backward, clip, update. Nothing in it waits for the GPU.

On one GPU the compiled strategy captures all of it as one CUDA graph: small patches take more time to launch
than to compute. Axes: n sample, c channel, k class, d h w space.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from ..contract import frozen
from ..loaders import Batch
from .class_loss import class_loss
from .loss import segmentation_loss
from .strategy import Strategy

CLIP_NORM = 12.0  # nnU-Net v2's default trainer (recipe.md, 4)
# Steps launched one by one before a capture: compilation, cuDNN's search, the optimizer's buffers.
EAGER_STEPS = 2

Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@frozen
class LossOptions:
    """What the loss of a training is; see `segmentation_loss`, or with class_weights `class_loss`."""

    level_weights: Sequence[float]
    batch_dice: bool
    share: float = 1.0
    class_weights: Sequence[float] | None = None


def autocast(strategy: Strategy, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    wanted = strategy.autocast_type
    return torch.autocast(device.type, wanted) if wanted else contextlib.nullcontext()


class TrainingStep:
    """Steps of one network on one device.

    graph_failure: why the steps are launched one by one although a graph was asked for; None otherwise.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        strategy: Strategy,
        loss: LossOptions,
        device: torch.device,
        *,
        ranks: int = 1,
    ) -> None:
        self._parameters = list(network.parameters())
        self._optimizer, self._scaler, self._device = optimizer, scaler, device
        self._layout = strategy.layout
        self._objective = _objective(network, strategy, loss, device, ranks)
        self._losses: list[torch.Tensor] = []
        self.graph_failure: str | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._wants_graph = strategy.graph and ranks == 1
        self._taken = 0
        if self._wants_graph:
            self._stream = torch.cuda.Stream(device)
            self._rate = torch.zeros((), device=device)
            self._loss = torch.zeros((), device=device)
            self._sum = torch.zeros((), device=device)
            self._summed = 0

    def __call__(self, batch: Batch, learning_rate: float) -> None:
        """Takes a step. The batch may be overwritten by what the current stream does next."""
        self._taken += 1
        if not self._wants_graph:
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate
            self._losses.append(self._launch(self._patches(batch), batch.label_ndhw))
            return
        self._rate.fill_(learning_rate)
        self._summed += 1
        if self._graph is None and self._taken > EAGER_STEPS:
            self._capture(batch)
        if self._graph is None:
            self._on_the_side(batch)
            return
        self._image.copy_(batch.image_ncdhw)
        self._label.copy_(batch.label_ndhw)
        self._graph.replay()

    def mean_loss(self) -> torch.Tensor:
        """Of the steps since this was asked last, on the device."""
        if not self._wants_graph:
            mean, self._losses = torch.stack(self._losses).mean(), []
            return mean
        mean = self._sum / max(self._summed, 1)
        self._sum.zero_()
        self._summed = 0
        return mean

    def _patches(self, batch: Batch) -> torch.Tensor:
        return batch.image_ncdhw.contiguous(memory_format=self._layout)

    def _launch(self, image_ncdhw: torch.Tensor, label_ndhw: torch.Tensor) -> torch.Tensor:
        """The loss, detached."""
        loss = self._objective(image_ncdhw, label_ndhw)
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._parameters, CLIP_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss.detach()

    def _on_the_side(self, batch: Batch) -> None:
        """A step on the stream that the capture will use: gradients remember their stream."""
        current = torch.cuda.current_stream(self._device)
        self._use_device_rate()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._sum.add_(self._launch(self._patches(batch), batch.label_ndhw))
        current.wait_stream(self._stream)

    def _use_device_rate(self) -> None:
        """The learning rate is read from the device, where a graph finds each step's own."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate
            if "capturable" in group:  # AdamW's count of steps then stays on the device too
                group["capturable"] = True

    def _capture(self, batch: Batch) -> None:
        self._use_device_rate()
        self._image = self._patches(batch).clone()
        self._label = batch.label_ndhw.clone()
        self._optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()  # the graph has a pool of its own
        graph = torch.cuda.CUDAGraph()
        try:
            # Loaders have threads that may talk to CUDA meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._sum.add_(self._launch(self._image, self._label))
        except RuntimeError as cause:
            self.graph_failure = str(cause).splitlines()[0]
            print(f"the step is launched kernel by kernel: {self.graph_failure}", file=sys.stderr)
            self._taken = -sys.maxsize
            torch.cuda.synchronize(self._device)
            return
        self._graph = graph


def _loss_of(loss: LossOptions, device: torch.device) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    """The loss of logits and labels, or of logits and classes."""
    if loss.class_weights is None:
        return partial(
            segmentation_loss, weights=loss.level_weights, batch_dice=loss.batch_dice, share=loss.share
        )
    # On the device before a graph is captured, which may copy nothing from the host.
    weights_k = torch.tensor(loss.class_weights, device=device)
    return partial(class_loss, weights_k=weights_k, share=loss.share)


def _objective(
    network: nn.Module, strategy: Strategy, loss: LossOptions, device: torch.device, ranks: int
) -> Objective:
    """The loss of patches and their labels."""
    # Across ranks the network is compiled alone: DistributedDataParallel wraps it.
    forward: Any = network
    loss_of = _loss_of(loss, device)
    if strategy.compiled and ranks > 1:
        forward, loss_of = (torch.compile(f, dynamic=False) for f in (network, loss_of))
    if ranks > 1:
        forward = nn.parallel.DistributedDataParallel(
            forward, device_ids=[device.index] if device.type == "cuda" else None
        )

    kind, wanted = device.type, strategy.autocast_type

    def objective(image_ncdhw: torch.Tensor, label_ndhw: torch.Tensor) -> torch.Tensor:
        with torch.autocast(kind, wanted, enabled=wanted is not None):
            logits = forward(image_ncdhw)
        loss: torch.Tensor = loss_of(logits, label_ndhw)
        return loss

    if strategy.compiled and ranks == 1:
        return torch.compile(objective, dynamic=False)
    return objective

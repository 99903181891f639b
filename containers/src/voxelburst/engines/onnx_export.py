"""The network as one ONNX file, which ONNX Runtime 1.32 and TensorRT 10.6 and 11 read alike.

Axes: n window, c channel, k class, d h w space in the arrays' order.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from .engine import Site

INPUT, OUTPUT = "image", "logits"
# The oldest that torch's exporter writes without conversion: TensorRT 10.6 reads opsets 9 to 20.
_OPSET = 18
# What TensorRT 10.6's parser was built against understands newer ones too; nothing here needs them.
_IR_VERSION = 8
_LARGEST_BATCH = 256
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class _Typed(nn.Module):
    """float32 in and out whatever the weights are: strongly typed engines take precision from the graph."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model.to(dtype)
        self.dtype = dtype

    def forward(self, image_ncdhw: torch.Tensor) -> torch.Tensor:
        return self.model(image_ncdhw.to(self.dtype)).float()


def export(model: nn.Module, site: Site, precision: str, path: Path) -> None:
    """Writes the network in eval mode: input ``image``, output ``logits``, the batch free, the patch fixed.

    InstanceNorm stays one InstanceNormalization node: 4 % of the time in ONNX Runtime on the CPU, and a
    normalisation layer of its own in TensorRT. The weights are inside the file (up to protobuf's 2 GiB).
    """
    import onnx

    typed = _Typed(copy.deepcopy(model).cpu().eval(), _DTYPES[precision])
    # Two windows: a batch of one would be taken as fixed.
    windows_ncdhw = torch.zeros(2, site.network.input_channels, *site.patch)
    with _quiet():
        program = torch.onnx.export(
            typed,
            (windows_ncdhw,),
            dynamo=True,
            opset_version=_OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)},),
            verbose=False,
        )
    assert program is not None
    document = program.model_proto
    document.ir_version = _IR_VERSION
    # The exporter notes the source lines of this machine's files on every node.
    del document.metadata_props[:]
    for part in (
        document.graph,
        *document.graph.node,
        *document.graph.value_info,
        *document.graph.initializer,
    ):
        part.doc_string = ""
        del part.metadata_props[:]
    for value in (*document.graph.input, *document.graph.output):
        del value.metadata_props[:]
    document.doc_string = ""
    onnx.checker.check_model(document)
    path.write_bytes(document.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    """The exporter's notes about packages that are not wanted here stay out of the log."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

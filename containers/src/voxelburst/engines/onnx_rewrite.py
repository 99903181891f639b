"""An exported graph in 8 bits by Q/DQ: TensorRT 11 has no other place for a precision than the graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

# The first whose DequantizeLinear may give fp16; TensorRT 10.6 reads opsets up to 20.
_QUANTISED_OPSET = 19
_LARGEST = 127.0


def amplitudes(model: nn.Module, windows: Iterable[torch.Tensor], where: torch.device) -> dict[str, float]:
    """The largest magnitude of each convolution's input over windows_cdhw, by the convolution's name."""
    found: dict[str, float] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv3d):

            def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
                found[name] = max(found.get(name, 0.0), float(inputs[0].abs().max()))

            hooks.append(module.register_forward_pre_hook(keep))
    model.to(where)
    with torch.no_grad():
        for window_cdhw in windows:
            model(window_cdhw[None].to(where))
    for hook in hooks:
        hook.remove()
    return found


def quantise(document: Any, amplitude_of: dict[str, float], prefix: str = "model.") -> int:
    """Puts Q/DQ around each convolution but the first and the last, in place.

    Activations have one scale a tensor, weights one an output channel, and are stored as int8: a
    QuantizeLinear of 3-D weights does not build in TensorRT 10.6 (reference/performance.md).

    Args:
        amplitude_of: of each convolution's input, by the module's name.
        prefix: of the modules' names in the graph.

    Returns:
        how many convolutions were quantised.
    """
    from onnx import helper, numpy_helper

    graph = document.graph
    values = {item.name: item for item in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    kept = set()
    made: dict[str, str] = {}
    count = 0
    for node in convolutions[1:-1]:
        weight = numpy_helper.to_array(values[node.input[1]])
        dtype = weight.dtype
        module = node.input[1].removeprefix(prefix).removesuffix(".weight")
        source = node.input[0]
        at = next(i for i, other in enumerate(graph.node) if other == node)
        if source not in made:
            scale, zero = f"{source}_scale", f"{source}_zero"
            step = np.array(amplitude_of[module] / _LARGEST, dtype)
            graph.initializer.append(numpy_helper.from_array(step, scale))
            graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), zero))
            graph.node.insert(
                at,
                helper.make_node(
                    "QuantizeLinear", [source, scale, zero], [f"{source}_q"], name=f"q_{source}"
                ),
            )
            graph.node.insert(
                at + 1,
                helper.make_node(
                    "DequantizeLinear", [f"{source}_q", scale, zero], [f"{source}_dq"], name=f"dq_{source}"
                ),
            )
            made[source] = f"{source}_dq"
            at += 2
        wide = weight.astype(np.float32)
        steps = np.maximum(np.abs(wide).max((1, 2, 3, 4)) / _LARGEST, 1e-12)
        stored = np.round(wide / steps[:, None, None, None, None]).astype(np.int8)
        name = f"{node.input[1]}_int8"
        graph.initializer.append(numpy_helper.from_array(stored, name))
        graph.initializer.append(numpy_helper.from_array(steps.astype(dtype), f"{name}_scale"))
        graph.initializer.append(numpy_helper.from_array(np.zeros(len(steps), np.int8), f"{name}_zero"))
        graph.node.insert(
            at,
            helper.make_node(
                "DequantizeLinear",
                [name, f"{name}_scale", f"{name}_zero"],
                [f"{name}_dq"],
                name=f"dq_{name}",
                axis=0,
            ),
        )
        kept.add(node.input[1])
        node.input[0], node.input[1] = made[source], f"{name}_dq"
        count += 1
    unused = kept - {name for node in graph.node for name in node.input}
    for item in [item for item in graph.initializer if item.name in unused]:
        graph.initializer.remove(item)
    document.opset_import[0].version = max(document.opset_import[0].version, _QUANTISED_OPSET)
    return count

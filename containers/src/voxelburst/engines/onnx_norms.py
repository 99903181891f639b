"""Other forms of a graph's norms for TensorRT, whose own layer wants NCDHW and a copy on either side."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

PLUGIN, PLUGIN_VERSION = "VoxelburstFusedNorm", "1"
# A channel of DHWC8, and of CDHW32, which 8 bits have.
_CHANNELS, _EIGHT_BITS_CHANNELS = 8, 32
_SPACE = (2, 3, 4)


def fuse_norms(document: Any) -> int:
    """Replaces each InstanceNormalization and the LeakyRelu behind it by `tensorrt_plugin`'s layer, in place.

    A QuantizeLinear that alone reads the result goes into the layer too, so that 8 bits are written where 16
    would be written, read and written again. Norms of channels that are no multiple of 8 stay.

    Returns:
        how many were replaced.
    """
    from onnx import helper, numpy_helper

    graph = document.graph
    values = {item.name: item for item in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    activations = {node.input[0]: node for node in graph.node if node.op_type == "LeakyRelu"}
    quantisers = {node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    nodes: list[Any] = []
    gone: set[str] = set()
    made: dict[str, Any] = {}
    replaced = 0
    for node in graph.node:
        activation = activations.get(node.output[0]) if node.op_type == "InstanceNormalization" else None
        if activation is None or readers[node.output[0]] != 1:
            nodes.append(node)
            continue
        channels = values[node.input[1]].dims[0]
        if channels % _CHANNELS:
            nodes.append(node)
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in (*node.attribute, *activation.attribute)}
        result, inverse = activation.output[0], 0.0
        gone.add(activation.output[0])
        quantiser = quantisers.get(result)
        if quantiser is not None and readers[result] == 1 and channels % _EIGHT_BITS_CHANNELS == 0:
            inverse = 1.0 / float(numpy_helper.to_array(values[quantiser.input[1]]))
            result = quantiser.output[0]
            gone.add(quantiser.output[0])
        parameters = []
        for name in node.input[1:3]:
            value = numpy_helper.to_array(values[name]).astype(np.float32)
            parameters.append(f"{PLUGIN}_{name}")
            made[parameters[-1]] = numpy_helper.from_array(value, parameters[-1])
        nodes.append(
            helper.make_node(
                PLUGIN,
                [node.input[0], *parameters],
                [result],
                name=f"{PLUGIN}_{node.output[0]}",
                channels=float(channels),
                epsilon=float(attributes.get("epsilon", 1e-5)),
                alpha=float(attributes.get("alpha", 0.01)),
                inverse=inverse,
                plugin_version=PLUGIN_VERSION,
                plugin_namespace="",
            )
        )
        replaced += 1
    graph.initializer.extend(made.values())
    kept = [node for node in nodes if node.op_type == PLUGIN or node.output[0] not in gone]
    _replace_nodes(graph, kept)
    return replaced


def decompose_norms(document: Any) -> int:
    """Writes each InstanceNormalization as sums and products, which TensorRT's compiler may fuse, in place.

    Statistics are float32 whatever the tensor is. The variance is the mean of squares less the squared mean:
    one reading of x in place of two, at a relative error of about 1e-7 x (1 + mean^2 / variance).

    Returns:
        how many were replaced.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = document.graph
    values = {item.name: item for item in graph.initializer}
    nodes: list[Any] = []
    made: dict[str, Any] = {}
    replaced = 0

    def constant(name: str, value: np.ndarray) -> str:
        made[name] = numpy_helper.from_array(value, name)
        return name

    axes = constant("norm_axes", np.array(_SPACE, np.int64))
    for node in graph.node:
        if node.op_type != "InstanceNormalization":
            nodes.append(node)
            continue
        source, weight, bias = node.input
        result = node.output[0]
        eps = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        wide, narrow = TensorProto.FLOAT, values[weight].data_type

        def step(kind: str, inputs: list[str], output: str, at: str = result, **attributes: Any) -> str:
            nodes.append(
                helper.make_node(kind, inputs, [output], name=f"{at}_{kind}_{len(nodes)}", **attributes)
            )
            return output

        def parameter(name: str, at: str = result) -> str:
            value = numpy_helper.to_array(values[name]).astype(np.float32)
            return constant(f"{at}_{name}", value.reshape(1, -1, *(1 for _ in _SPACE)))

        x = step("Cast", [source], f"{result}_wide", to=wide)
        mean = step("ReduceMean", [x, axes], f"{result}_mean", keepdims=1)
        squares = step("ReduceMean", [step("Mul", [x, x], f"{result}_x2"), axes], f"{result}_ms", keepdims=1)
        difference = step("Sub", [squares, step("Mul", [mean, mean], f"{result}_m2")], f"{result}_difference")
        # Rounding may leave a constant channel a little below zero.
        variance = step("Relu", [difference], f"{result}_variance")
        held = step(
            "Add",
            [variance, constant("norm_eps", np.array(eps, np.float32).reshape(1, 1, 1, 1, 1))],
            f"{result}_held",
        )
        scale = step("Div", [parameter(weight), step("Sqrt", [held], f"{result}_sd")], f"{result}_scale")
        moved = step("Mul", [mean, scale], f"{result}_moved")
        shift = step("Sub", [parameter(bias), moved], f"{result}_shift")
        y = step("Add", [step("Mul", [x, scale], f"{result}_scaled"), shift], f"{result}_y")
        step("Cast", [y], result, to=narrow)
        replaced += 1
    if replaced:
        graph.initializer.extend(made.values())
    _replace_nodes(graph, nodes)
    return replaced


def _replace_nodes(graph: Any, nodes: list[Any]) -> None:
    """Puts these nodes in place of the graph's, without the parameters that none of them reads any more."""
    kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    read = {name for node in kept for name in node.input}
    for item in [item for item in graph.initializer if item.name not in read]:
        graph.initializer.remove(item)

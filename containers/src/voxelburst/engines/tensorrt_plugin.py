"""Our norm and activation as a layer of TensorRT: a plugin of its third generation, through the Python API.

TensorRT's own layer wants NCDHW and a copy on either side of it; its plugin InstanceNormalization_TRT wants
cuDNN 8. This one takes the layouts that its 3-D convolutions have: DHWC8 (channels-last) for fp16, CDHW32 for
int8. It runs Triton's kernels on TensorRT's stream and memory, and never waits: a CUDA graph can hold it.

Imported only where TensorRT and Triton are (`tensorrt_engine`). Written to the API that TensorRT 10.6 and 11
document. Its first run on a GPU (an H200, 10.6) failed where TensorRT sets a shape; why is not known yet.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorrt as trt
import torch

from .onnx_norms import PLUGIN, PLUGIN_VERSION
from .tensorrt_norm import Norm, Pointer

_NAMESPACE = ""
# Channels beside each other in a vector of CDHW32.
_VECTOR = 32
_DTYPES = {trt.DataType.HALF: torch.float16, trt.DataType.INT8: torch.int8}
# Numbers alone: with NumPy 2, TensorRT 10.6's bindings read each value of a longer field as its first.
_FIELDS = ("channels", "epsilon", "alpha", "inverse")


# What was raised inside of TensorRT, which says no more of it than that a plugin failed.
raised: list[str] = []


def _kept(method: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps what the method raises in `raised`."""

    @functools.wraps(method)
    def calling(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except Exception as error:
            raised.append(f"{PLUGIN}.{method.__name__} raised {type(error).__name__}: {error}")
            raise

    return calling


class FusedNorm(trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):  # type: ignore[misc]
    """y = LeakyReLU(InstanceNorm(x) x scales + bias) of the inputs x, scales and bias.

    x is fp16, scales and bias float32 of a value a channel; y is fp16, or int8 where `inverse` is not zero.
    fields are float32 arrays of one value: the number of channels, the norm's epsilon, the activation's slope
    alpha, and the inverse of int8's step or zero.
    """

    def __init__(self, fields: dict[str, np.ndarray]) -> None:
        trt.IPluginV3.__init__(self)
        trt.IPluginV3OneCore.__init__(self)
        trt.IPluginV3OneBuild.__init__(self)
        trt.IPluginV3OneRuntime.__init__(self)
        self.plugin_name = PLUGIN
        self.plugin_version = PLUGIN_VERSION
        self.plugin_namespace = _NAMESPACE
        self.num_outputs = 1
        self.fields = fields
        self.channels = int(fields["channels"][0])
        self.inverse = float(fields["inverse"][0])
        # TensorRT adds shapes, types and layouts: plugins that differ in their values alone are timed once.
        self.timing_cache_id = f"{PLUGIN} {PLUGIN_VERSION}"
        self.norm: Norm | None = None

    def get_capability_interface(self, _kind: Any) -> Any:
        return self

    def clone(self) -> FusedNorm:
        made = FusedNorm(self.fields)
        made.__dict__.update(self.__dict__)
        return made

    def get_output_data_types(self, _inputs: list[Any]) -> list[Any]:
        return [trt.DataType.INT8 if self.inverse else trt.DataType.HALF]

    def get_output_shapes(self, inputs: list[Any], _shape_inputs: list[Any], _builder: Any) -> list[Any]:
        return [trt.DimsExprs(inputs[0])]

    def supports_format_combination(self, pos: int, in_out: list[Any], _inputs: int) -> bool:
        asked = in_out[pos].desc
        if pos in (1, 2):
            return asked.type == trt.DataType.FLOAT and asked.format == trt.TensorFormat.LINEAR
        if pos == 0:
            return asked.type == trt.DataType.HALF and self._beside(asked.format) is not None
        if self.inverse:
            return asked.type == trt.DataType.INT8 and asked.format == trt.TensorFormat.CDHW32
        return asked.type == trt.DataType.HALF and asked.format == in_out[0].desc.format

    def _beside(self, layout: Any) -> int | None:
        """Channels beside each other; None of a layout that the kernels do not have."""
        if layout == trt.TensorFormat.DHWC8 and self.channels % 8 == 0:
            return self.channels
        if layout == trt.TensorFormat.CDHW32 and self.channels % _VECTOR == 0:
            return _VECTOR
        return None

    def configure_plugin(self, _inputs: list[Any], _outputs: list[Any]) -> None:
        pass

    @_kept
    def get_workspace_size(self, inputs: list[Any], outputs: list[Any]) -> int:
        return self._norm(inputs[0].max, inputs[0].desc, outputs[0].desc).scratch_bytes

    @_kept
    def on_shape_change(self, inputs: list[Any], outputs: list[Any]) -> None:
        self.norm = self._norm(inputs[0].dims, inputs[0], outputs[0])
        # Compiled here, so that TensorRT, which times what comes next, never times a compiler.
        x, y = (Pointer(0, _DTYPES[side[0].type]) for side in (inputs, outputs))
        parameter = Pointer(0, torch.float32)
        for launch in self.norm.launches(x, y, parameter, parameter, self.norm.scratch(0)):
            launch.compile()

    def _norm(self, dims: Any, x: Any, y: Any) -> Norm:
        beside, beside_out = self._beside(x.format), self._beside(y.format)
        if beside is None or beside_out is None:
            raise ValueError(f"{PLUGIN} was given the layouts {x.format} and {y.format}, which it refused.")
        samples, _, *space = dims  # channels are the parameters': TensorRT 11 may count padded ones here
        return Norm(
            samples=samples,
            places=math.prod(space),
            channels=self.channels,
            channels_beside=beside,
            channels_beside_out=beside_out,
            eps=float(self.fields["epsilon"][0]),
            slope=float(self.fields["alpha"][0]),
            inverse=self.inverse or 1.0,
        )

    @_kept
    def enqueue(
        self,
        input_desc: list[Any],
        output_desc: list[Any],
        inputs: list[int],
        outputs: list[int],
        workspace: int,
        stream: int,
    ) -> None:
        assert self.norm is not None, "on_shape_change comes first"
        x = Pointer(inputs[0], _DTYPES[input_desc[0].type])
        y = Pointer(outputs[0], _DTYPES[output_desc[0].type])
        scales, bias = (Pointer(address, torch.float32) for address in inputs[1:])
        with torch.cuda.stream(torch.cuda.ExternalStream(stream)):
            for launch in self.norm.launches(x, y, scales, bias, self.norm.scratch(workspace)):
                launch.run()

    def attach_to_context(self, _resources: Any) -> FusedNorm:
        return self.clone()

    def get_fields_to_serialize(self) -> Any:
        return trt.PluginFieldCollection(
            [trt.PluginField(name, self.fields[name], trt.PluginFieldType.FLOAT32) for name in _FIELDS]
        )


class FusedNormCreator(trt.IPluginCreatorV3One):  # type: ignore[misc]
    def __init__(self) -> None:
        trt.IPluginCreatorV3One.__init__(self)
        self.name = PLUGIN
        self.plugin_version = PLUGIN_VERSION
        self.plugin_namespace = _NAMESPACE
        self.field_names = trt.PluginFieldCollection(
            [trt.PluginField(name, np.array([], np.float32), trt.PluginFieldType.FLOAT32) for name in _FIELDS]
        )

    def create_plugin(self, _name: str, fields: Any, _phase: Any) -> FusedNorm:
        # Copies: TensorRT owns the memory of the fields, and only during this call.
        found = {field.name: np.array(field.data, np.float32).reshape(1) for field in fields}
        return FusedNorm({name: found[name] for name in _FIELDS})


# TensorRT's registry keeps no reference of its own.
_CREATOR = FusedNormCreator()


def register() -> None:
    """Makes the plugin known to TensorRT, which builds and loads plans with it from then on."""
    registry = trt.get_plugin_registry()
    if registry.get_creator(PLUGIN, PLUGIN_VERSION, _NAMESPACE) is None:
        registry.register_creator(_CREATOR, _NAMESPACE)

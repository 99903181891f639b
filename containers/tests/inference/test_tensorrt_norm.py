"""The norm that TensorRT calls: its kernels in Triton's interpreter, the plugin where TensorRT is."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from triton_interpreter import run_interpreted


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernels_compute_the_norm_in_tensorrts_layouts_in_tritons_interpreter() -> None:
    said = run_interpreted(Path(__file__).with_name("interpreted_tensorrt_norm.py"))
    passed = re.search(r"(\d+) passed", said)
    assert passed and int(passed[1]) == 10


@pytest.fixture
def plugin() -> Any:
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    pytest.importorskip("triton", reason="Triton is not installed")
    from voxelburst.engines import tensorrt_plugin

    return tensorrt_plugin


def fields(channels: int, inverse: float = 0.0) -> dict[str, np.ndarray]:
    one = {"channels": channels, "epsilon": 1e-5, "alpha": 0.01, "inverse": inverse}
    return {name: np.array([value], np.float32) for name, value in one.items()}


def test_tensorrt_finds_the_plugin_by_name_and_makes_it_of_what_it_stored(plugin: Any) -> None:
    import tensorrt as trt

    plugin.register()
    plugin.register()
    creator = trt.get_plugin_registry().get_creator(plugin.PLUGIN, plugin.PLUGIN_VERSION, "")
    assert creator is not None
    norm = plugin.FusedNorm(fields(32, 12.5))  # the stored fields point into its arrays
    made = creator.create_plugin("norm", norm.get_fields_to_serialize(), trt.TensorRTPhase.RUNTIME)
    for name, value in fields(32, 12.5).items():
        np.testing.assert_array_equal(made.fields[name], value)
    assert made.clone().inverse == 12.5


def test_the_plugin_takes_the_layouts_of_3d_convolutions_and_no_other(plugin: Any) -> None:
    import tensorrt as trt

    half, eight = trt.DataType.HALF, trt.DataType.INT8
    layouts = trt.TensorFormat

    def takes(made: Any, *described: tuple[Any, Any]) -> bool:
        sides = []
        for kind, layout in described:
            side = trt.DynamicPluginTensorDesc()
            side.desc.type, side.desc.format = kind, layout
            sides.append(side)
        for at in (1, 2):  # scales and bias
            parameter = trt.DynamicPluginTensorDesc()
            parameter.desc.type, parameter.desc.format = trt.DataType.FLOAT, layouts.LINEAR
            sides.insert(at, parameter)
        return all(made.supports_format_combination(at, sides, 3) for at in range(len(sides)))

    wide, narrow = plugin.FusedNorm(fields(40)), plugin.FusedNorm(fields(64, 3.0))
    assert takes(wide, (half, layouts.DHWC8), (half, layouts.DHWC8))
    assert not takes(wide, (half, layouts.CDHW32), (half, layouts.CDHW32))  # 40 channels are no vectors of 32
    assert not takes(wide, (half, layouts.LINEAR), (half, layouts.LINEAR))
    assert not takes(wide, (trt.DataType.FLOAT, layouts.DHWC8), (trt.DataType.FLOAT, layouts.DHWC8))
    assert takes(narrow, (half, layouts.DHWC8), (eight, layouts.CDHW32))
    assert takes(narrow, (half, layouts.CDHW32), (eight, layouts.CDHW32))
    assert not takes(narrow, (half, layouts.DHWC8), (half, layouts.DHWC8))
    assert narrow.get_output_data_types([half]) == [eight] and wide.get_output_data_types([half]) == [half]

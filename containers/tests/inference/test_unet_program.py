"""The engine of our own kernels: by Triton's interpreter, which needs a process of its own, and on a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from triton_interpreter import run_interpreted


def test_the_kernels_compute_the_network_in_tritons_interpreter() -> None:
    pytest.importorskip("triton")
    said = run_interpreted(Path(__file__).with_name("interpreted_program.py"))
    assert "[100%]" in said and "s" not in said.split("[")[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize(("precision", "close"), [("fp16", 5e-3), ("int8", 0.15), ("fp8", 0.25)])
def test_the_engine_computes_the_network_on_the_gpu(precision: str, close: float, tmp_path: Path) -> None:
    from voxelburst import engines
    from voxelburst.contract import Network
    from voxelburst.engines import Site, triton_engine
    from voxelburst.models import build, save_weights

    if engines.missing("triton") is not None:
        pytest.skip(str(engines.missing("triton")))
    network = Network(
        model="unet3d",
        input_channels=1,
        output_classes=3,
        features=[32, 64, 128],
        strides=[(1, 1, 1), (2, 2, 2), (2, 2, 2)],
        kernels=[(3, 3, 3)] * 3,
        deep_supervision_weights=[1.0],
    )
    torch.manual_seed(0)
    model = build(network).eval().requires_grad_(False)
    save_weights(model, tmp_path / "weights.pt")
    site = Site(folder=tmp_path, network=network, patch=(24, 40, 32))
    windows = torch.randn(5, 1, *site.patch)
    entry = engines.make("triton", model, site, precision, lambda: windows)
    engine = triton_engine.load(site, entry)
    expected = model(windows)
    for count in (1, 3, 5):
        found = engine(windows[:count].to(engine.device)).cpu()
        assert float((found - expected[:count]).norm() / expected[:count].norm()) < close
    assert torch.equal(engine(windows[:1].to(engine.device)), engine(windows[:1].to(engine.device)))

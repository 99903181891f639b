"""One build of the TensorRT engine with one form of its norms: norms.py D,H,W FORM PRECISION."""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from voxelburst import models
from voxelburst.bench.command import reference_network
from voxelburst.engines import Site, tensorrt_engine
from voxelburst.models import WEIGHTS_FILE

d, h, w = (int(n) for n in sys.argv[1].split(","))
patch = (d, h, w)
form, precision = sys.argv[2:4]
tensorrt_engine._NORMS = (form,)
row: dict[str, object] = {"patch": patch, "norms": form, "precision": precision}
try:
    network = reference_network(patch)
    site = Site(folder=Path(tempfile.mkdtemp()), network=network, patch=patch)
    torch.manual_seed(0)
    model = models.build(network).eval().requires_grad_(False)
    models.save_weights(model, site.folder / WEIGHTS_FILE)
    began = time.monotonic()
    entry = tensorrt_engine.make(model, site, precision, lambda: iter([torch.randn(1, *patch)] * 4))
    row["buildSeconds"] = round(time.monotonic() - began, 1)
    engine = tensorrt_engine.load(site, entry)
    row["fallbacks"] = list(engine.fallbacks)
    windows = torch.randn(engine.batch, 1, *patch, device="cuda")
    torch.backends.cudnn.allow_tf32 = False
    expected = model.cuda()(windows[:1])
    got = engine(windows)[:1]
    row["largestError"] = ((got - expected).abs().max() / expected.std()).item()
    row["argmaxAgreement"] = (got.argmax(1) == expected.argmax(1)).float().mean().item()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(20):
        engine(windows)
    end.record()
    torch.cuda.synchronize()
    row["windowsPerSecond"] = 20 * engine.batch / start.elapsed_time(end) * 1000
except Exception as error:
    row["failed"] = f"{type(error).__name__}: {error}"
print(json.dumps(row), flush=True)

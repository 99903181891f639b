"""MONAI as its tutorials use it: DynUNet with autocast, its transforms, its sliding-window inferer.

Run by the peer's own interpreter. Axes: n sample, c channel, d h w space.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import monai
import numpy as np
import torch
from monai.data import CacheDataset, DataLoader
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.networks.nets import DynUNet
from monai.transforms import (
    Compose,
    EnsureTyped,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    RandScaleIntensityd,
)


def main(request: dict[str, Any]) -> list[dict[str, Any]]:
    """`request["does"]`: which of train and predict: the inferer alone, on a volume in memory."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    # PyTorch's defaults: what a user of MONAI gets without looking further.
    torch.backends.cudnn.allow_tf32 = True
    versions = {"monai": monai.__version__, "torch": torch.__version__}
    made = [_training(request, device)] if "train" in request["does"] else []
    if "predict" in request["does"]:
        made += _inference(request, device)
    return [{**row, "versions": versions} for row in made]


def _network(request: dict[str, Any]) -> DynUNet:
    return DynUNet(
        spatial_dims=3,
        in_channels=request["channels"],
        out_channels=request["classes"],
        kernel_size=request["kernels"],
        strides=request["strides"],
        upsample_kernel_size=request["strides"][1:],
        filters=request["features"],
        trans_bias=True,
    )


def _training(request: dict[str, Any], device: torch.device) -> dict[str, Any]:
    patch, batch = request["patch"], request["batch"]
    items = [
        {"image": np.load(f"{folder}/image.npy"), "label": np.load(f"{folder}/label.npy")[None].clip(0)}
        for folder in request["folders"]
    ]
    both = ["image", "label"]
    transforms = Compose(
        [
            EnsureTyped(keys=both),
            # As many crops as cases in a batch: MONAI's tutorials take several of each volume.
            RandCropByPosNegLabeld(
                keys=both, label_key="label", spatial_size=patch, pos=2, neg=3, num_samples=1
            ),
            *[RandFlipd(keys=both, prob=1 / 3, spatial_axis=axis) for axis in range(3)],
            RandGaussianNoised(keys=["image"], prob=0.1, std=0.1),
            RandScaleIntensityd(keys=["image"], factors=0.3, prob=0.1),
        ]
    )
    repeated = [item for _ in range(-(-64 * batch // len(items))) for item in items]
    data = CacheDataset(repeated, transforms, cache_rate=1.0, copy_cache=False, progress=False)
    loader = DataLoader(
        data, batch_size=batch, shuffle=True, drop_last=True, num_workers=request["workers"], pin_memory=True
    )
    network = _network(request).to(device)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.99, nesterov=True)
    loss_of = DiceCELoss(to_onehot_y=True, softmax=True)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")

    def step(batch_: dict[str, torch.Tensor]) -> None:
        image, label = (batch_[key].to(device, non_blocking=True) for key in both)
        with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
            loss = loss_of(network(image), label)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    steps, began, taken = 0, time.perf_counter(), 0.0
    while taken < request["seconds"] or steps < 5:
        for one in loader:
            step(one)
            steps += 1
            if steps <= request["warmUp"]:
                _wait(device)
                began = time.perf_counter()
            elif steps % 5 == 0:
                _wait(device)
                taken = time.perf_counter() - began
                if taken >= request["seconds"] and steps >= request["warmUp"] + 5:
                    break
    measured = steps - request["warmUp"]
    return {
        "does": "training with its transforms, AMP",
        "precision": "fp16" if device.type == "cuda" else "fp32",
        "batch": batch,
        "patch": patch,
        "steps": measured,
        "patchesPerSecond": round(batch * measured / taken, 3),
    }


@torch.no_grad()
def _inference(request: dict[str, Any], device: torch.device) -> list[dict[str, Any]]:
    volume = torch.randn(1, request["channels"], *request["volume"], device=device)
    network = _network(request).to(device).eval()
    rows = []
    for half in (False, True) if device.type == "cuda" else (False,):
        windows = 0

        def counted(patches: torch.Tensor) -> torch.Tensor:
            nonlocal windows
            windows += len(patches)
            return network(patches)

        def infer() -> None:
            with torch.autocast(device.type, torch.float16, enabled=half):  # noqa: B023
                sliding_window_inference(
                    volume,
                    request["patch"],
                    8,
                    counted,
                    overlap=0.5,
                    mode="gaussian",
                )
            _wait(device)

        infer()
        windows, volumes, began = 0, 0, time.perf_counter()
        while volumes < 2 or time.perf_counter() - began < request["seconds"]:
            infer()
            volumes += 1
        taken = time.perf_counter() - began
        rows.append(
            {
                "does": f"sliding_window_inference of {'x'.join(map(str, request['volume']))}, overlap 0.5, "
                + ("AMP" if half else "TF32" if device.type == "cuda" else "fp32"),
                "precision": "fp16" if half else "fp32",
                "batch": 8,
                "patch": request["patch"],
                "windowsPerSecond": round(windows / taken, 3),
                "volumesPerSecond": round(volumes / taken, 4),
            }
        )
    return rows


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))

"""nnU-Net v2 by its own commands: plan, preprocess, train some epochs, predict.

Run by the peer's own interpreter. The cases' arrays become a raw dataset of NIfTI files. Axes: d h w space.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

_NAME = "Dataset901_Bench"


def main(request: dict[str, Any]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="nnunet-peer-") as temporary:
        root = Path(temporary)
        for folder in ("raw", "preprocessed", "results"):
            (root / folder).mkdir()
            os.environ[f"nnUNet_{folder}"] = str(root / folder)
        cases = _write_raw(root / "raw" / _NAME, request["folders"])
        workers = str(max(1, request["workers"]))
        preparing = _run("nnUNetv2_plan_and_preprocess", "-d", "901", "-c", "3d_fullres", "-np", workers)
        plans = root / "preprocessed" / _NAME / "nnUNetPlans.json"
        planned = json.loads(plans.read_text())
        configuration = planned["configurations"]["3d_fullres"]
        # The same patch and batch as ours: nnU-Net's own plan may differ.
        configuration["patch_size"], configuration["batch_size"] = request["patch"], request["batch"]
        plans.write_text(json.dumps(planned))
        trainer = "nnUNetTrainer_5epochs"
        _run("nnUNetv2_train", "901", "3d_fullres", "all", "-tr", trainer)
        log = "".join(path.read_text() for path in (root / "results").rglob("training_log_*.txt"))
        # The first epoch compiles.
        epochs = [float(found) for found in re.findall(r"Epoch time: ([\d.]+) s", log)][1:]
        predicting = _run(
            "nnUNetv2_predict", "-i", str(root / "raw" / _NAME / "imagesTr"), "-o", str(root / "masks"),
            "-d", "901", "-c", "3d_fullres", "-f", "all", "-tr", trainer, "--disable_tta",
            "-npp", workers, "-nps", workers,
        )  # fmt: skip
        common = {"versions": {"nnunetv2": version("nnunetv2"), "torch": version("torch")}}
        iterations = 250  # of an epoch, beside 50 of validation that its time holds too
        epoch = float(np.median(epochs))
        return [
            {
                "does": "fingerprint, plan and preprocess",
                "volumesPerSecond": round(cases / preparing, 4),
                **common,
            },
            {
                "does": "training (epoch of 250 steps and 50 validation steps)",
                "batch": request["batch"],
                "patch": request["patch"],
                "steps": iterations * len(epochs),
                "patchesPerSecond": round(iterations * request["batch"] / epoch, 3),
                **common,
            },
            {
                "does": "predict, file to mask, whole command, no mirroring",
                "volumesPerSecond": round(cases / predicting, 4),
                **common,
            },
        ]


def _write_raw(folder: Path, arrays: list[str]) -> int:
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for number, source in enumerate(arrays):
        image_cdhw = np.load(f"{source}/image.npy")
        label_dhw = np.load(f"{source}/label.npy").clip(0).astype(np.uint8)
        for channel, image_dhw in enumerate(image_cdhw):
            path = folder / "imagesTr" / f"case_{number:04d}_{channel:04d}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(image_dhw.T, np.eye(4)), path)
        path = folder / "labelsTr" / f"case_{number:04d}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(label_dhw.T, np.eye(4)), path)
    classes = max(int(np.load(f"{source}/label.npy").max()) for source in arrays)
    document = {
        "channel_names": {str(c): "noNorm" for c in range(len(image_cdhw))},
        "labels": {"background": 0, **{f"class{k}": k for k in range(1, classes + 1)}},
        "numTraining": len(arrays),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(document))
    return len(arrays)


def _run(command: str, *arguments: str) -> float:
    """Seconds of one of nnU-Net's commands, process start included."""
    began = time.perf_counter()
    path = Path(sys.executable).with_name(command)
    subprocess.run([str(path), *arguments], check=True, stdout=sys.stderr)
    return time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))

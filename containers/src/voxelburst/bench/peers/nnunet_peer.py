"""nnU-Net v2 by its own commands: fingerprint, plan, preprocess, train some epochs, predict.

Run by the peer's own interpreter. Cases are a run's NIfTI files, or phantoms' arrays that become such files.
Axes: d h w space.
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

_DATASET, _NAME = "901", "Dataset901_Bench"
_CONFIGURATION = "3d_fullres"
_TRAINER = "nnUNetTrainer_5epochs"
# The entry point of a command, whether or not pip wrote a script for it.
_ENTER = (
    "from importlib.metadata import entry_points\n"
    "next(iter(entry_points(group='console_scripts', name='{command}'))).load()()"
)


def main(request: dict[str, Any]) -> list[dict[str, Any]]:
    """`request["does"]`: which of preprocess, train and predict; without train the weights are untrained."""
    with tempfile.TemporaryDirectory(prefix="nnunet-peer-") as temporary:
        root = Path(request.get("folder") or temporary)
        for folder in ("raw", "preprocessed", "results"):
            (root / folder).mkdir()
            os.environ[f"nnUNet_{folder}"] = str(root / folder)
        raw = root / "raw" / _NAME
        cases = _link_raw(raw, request) if request.get("cases") else _write_raw(raw, request["folders"])
        rows = _preparing(cases, "preprocess" in request["does"])
        if "train" in request["does"]:
            rows.append(_training(root, request))
        elif "predict" in request["does"]:
            _untrained(root)
        if "predict" in request["does"]:
            rows += _predicting(root, request)
        versions = {"nnunetv2": version("nnunetv2"), "torch": version("torch")}
        return [{"versions": versions, **row} for row in rows]


def _preparing(cases: int, timed: bool) -> list[dict[str, Any]]:
    """Fingerprint, plan and preprocess, each with its default number of processes."""
    fingerprint = _run("nnUNetv2_extract_fingerprint", "-d", _DATASET)
    plan = _run("nnUNetv2_plan_experiment", "-d", _DATASET)
    preprocess = _run("nnUNetv2_preprocess", "-d", _DATASET, "-c", _CONFIGURATION)
    if not timed:
        return []
    return [
        {
            "does": "preprocess, whole command",
            "timed": f"{cases} cases, nnUNetv2_preprocess with its default processes",
            "volumesPerSecond": round(cases / preprocess, 4),
            "note": f"fingerprint {fingerprint:.1f} s, plan {plan:.1f} s, preprocess {preprocess:.1f} s",
        },
        {
            "does": "fingerprint, plan and preprocess",
            "volumesPerSecond": round(cases / (fingerprint + plan + preprocess), 4),
        },
    ]


def _training(root: Path, request: dict[str, Any]) -> dict[str, Any]:
    plans = _plans_file(root)
    planned = json.loads(plans.read_text())
    configuration = planned["configurations"][_CONFIGURATION]
    # The same patch and batch as ours: nnU-Net's own plan may differ.
    configuration["patch_size"], configuration["batch_size"] = request["patch"], request["batch"]
    plans.write_text(json.dumps(planned))
    _run("nnUNetv2_train", _DATASET, _CONFIGURATION, "all", "-tr", _TRAINER)
    log = "".join(path.read_text() for path in (root / "results").rglob("training_log_*.txt"))
    # The first epoch compiles.
    epochs = [float(found) for found in re.findall(r"Epoch time: ([\d.]+) s", log)][1:]
    iterations = 250  # of an epoch, beside 50 of validation that its time holds too
    return {
        "does": "training (epoch of 250 steps and 50 validation steps)",
        "batch": request["batch"],
        "patch": request["patch"],
        "steps": iterations * len(epochs),
        "patchesPerSecond": round(iterations * request["batch"] / float(np.median(epochs)), 3),
    }


def _untrained(root: Path) -> None:
    """The checkpoint of a training that took no step, in the network of nnU-Net's plan."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    files = (_plans_file(root), root / "raw" / _NAME / "dataset.json")
    plans, dataset = (json.loads(file.read_text()) for file in files)
    manager = PlansManager(plans)
    configuration = manager.get_configuration(_CONFIGURATION)
    network = nnUNetTrainer.build_network_architecture(
        manager,
        configuration,
        determine_num_input_channels(manager, configuration, dataset),
        manager.get_label_manager(dataset).num_segmentation_heads,
        False,
    )
    model = root / "results" / _NAME / f"{_TRAINER}__nnUNetPlans__{_CONFIGURATION}"
    (model / "fold_all").mkdir(parents=True)
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {
        "network_weights": network.state_dict(),
        "init_args": {"configuration": _CONFIGURATION},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(checkpoint, model / "fold_all" / "checkpoint_final.pth")


def _predicting(root: Path, request: dict[str, Any]) -> list[dict[str, Any]]:
    """The cases to predict, without and with mirroring, and several times as many for the steady state."""
    images = sorted((root / "raw" / _NAME / "imagesTr").iterdir())
    wanted = set(request.get("predict") or [_case_of(path) for path in images])
    images = [path for path in images if _case_of(path) in wanted]
    times = (1, *([request["steadyTimes"]] if request.get("steadyTimes") else []))
    for count in times:
        (root / f"images-{count}").mkdir()
        for path in images:
            for copy in range(count):
                case = _case_of(path)
                name = f"{case}-{copy}{path.name[len(case) :]}"
                (root / f"images-{count}" / name).symlink_to(path.resolve())
    # Its documentation's advice for speed; its default of three is slower for small cases.
    workers = str(max(1, min(8, (os.cpu_count() or 2) // 2)))
    rows: list[dict[str, Any]] = []
    for mirroring in (False, True):
        took = {}
        for count in times:
            took[count] = _run(
                "nnUNetv2_predict",
                *("-i", str(root / f"images-{count}"), "-o", str(root / f"masks-{count}-{mirroring}")),
                *("-d", _DATASET, "-c", _CONFIGURATION, "-f", "all", "-tr", _TRAINER, "-step_size", "0.5"),
                *("-npp", workers, "-nps", workers, "-device", request["device"]),
                *([] if mirroring else ["--disable_tta"]),
            )
        flips = "mirroring" if mirroring else "no mirroring"
        note = {} if "train" in request["does"] else {"note": "weights that nobody trained"}
        rows.append(
            {
                "does": f"predict, file to mask, whole command, {flips}",
                "timed": f"{len(wanted)} cases, {workers} + {workers} processes, their starts included",
                "volumesPerSecond": round(len(wanted) / took[1], 4),
                **note,
            }
        )
        count = times[-1]
        if count > 1 and took[count] > took[1]:
            rows.append(
                {
                    "does": f"predict, file to mask, steady state, {flips}",
                    "timed": f"{count * len(wanted)} cases less {len(wanted)} cases",
                    "volumesPerSecond": round((count - 1) * len(wanted) / (took[count] - took[1]), 4),
                    **note,
                }
            )
    return rows


def _plans_file(root: Path) -> Path:
    return root / "preprocessed" / _NAME / "nnUNetPlans.json"


def _case_of(path: Path) -> str:
    return path.name[: -len("_0000.nii.gz")]


def _link_raw(folder: Path, request: dict[str, Any]) -> int:
    """A raw dataset that links a run's own files: {case: {images, label}}."""
    cases = request["cases"]
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for case, files in cases.items():
        for channel, image in enumerate(files["images"]):
            (folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz").symlink_to(image)
        (folder / "labelsTr" / f"{case}.nii.gz").symlink_to(files["label"])
    _write_description(folder, request["channelNames"], request["classes"] - 1, len(cases))
    return len(cases)


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
    _write_description(folder, ["noNorm"] * len(image_cdhw), classes, len(arrays))
    return len(arrays)


def _write_description(folder: Path, channels: list[str], foreground: int, cases: int) -> None:
    document = {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": {"background": 0, **{f"class{k}": k for k in range(1, foreground + 1)}},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(document))


def _run(command: str, *arguments: str) -> float:
    """Seconds of one of nnU-Net's commands, process start included."""
    began = time.perf_counter()
    entering = [sys.executable, "-c", _ENTER.format(command=command)]
    subprocess.run([*entering, *arguments], check=True, stdout=sys.stderr)
    seconds = time.perf_counter() - began
    print(f"{command}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))

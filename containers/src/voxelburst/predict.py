"""`python -m voxelburst predict --model FOLDER ... --images PATH ... --out DIR`: masks of new images.

Needs the model folder and nothing else; several folders, of a run's folds, are an ensemble. JSON Lines on
stdout: progress, one object an image (a prediction, or a refusal with its error document), a summary last.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from . import contract, engines, model_folder
from .contract import ModelFolder
from .engines import Site, ensemble
from .errors import StageError
from .inference.pipeline import Outcome, predict, warm_up
from .inference.sliding_window import SlidingWindow
from .inference.sources import read_channels
from .inference.whole import WholeVolume, classified
from .preprocessing import Preparation, Prepared, prepare
from .progress import Progress
from .volumes import write_mask
from .volumes.geometry import Affine

PREDICTIONS_FILE = "predictions.csv"
_NIFTI = re.compile(r"\.nii(\.gz)?$")
_CHANNEL = re.compile(r"_(\d{4})$")


@dataclass(frozen=True)
class Request:
    """One image to predict: its files or DICOM folders, one a channel, and the name of its mask."""

    name: str
    paths: tuple[Path, ...]


def main(argv: list[str]) -> int:
    """Returns 0 when every image got its mask.

    Raises:
        StageError: of the model folder, the arguments or the engine; ImagesRefused after all others are done.
    """
    parser = argparse.ArgumentParser(prog="python -m voxelburst predict")
    parser.add_argument(
        "--model",
        required=True,
        type=Path,
        nargs="+",
        help="the folder that compile wrote; those of several folds are averaged",
    )
    parser.add_argument(
        "--images",
        required=True,
        type=Path,
        nargs="+",
        help="NIfTI files, DICOM folders, or folders of them; several channels end in _0000, _0001 ...",
    )
    parser.add_argument("--out", required=True, type=Path, help="where the masks go, named like the images")
    parser.add_argument("--engine", help="of the model folder; default: the one that it was compiled for")
    options = parser.parse_args(argv)

    models = [model_folder.read(folder) for folder in options.model]
    ensemble.check_members(models)
    model = models[0]
    requests = find_images(options.images, len(model.channels))
    if not model.classes:
        _check_targets(requests, options.out)
    members = [
        engines.load(Site.of(folder, member), member, options.engine)
        for folder, member in zip(options.model, models, strict=True)
    ]
    engine = members[0] if len(members) == 1 else ensemble.Ensemble(members)
    options.out.mkdir(parents=True, exist_ok=True)
    predict_all = _classify_all if model.classes else _predict_all
    summary, refused = predict_all(model, engine, requests, options.out, len(members))
    print(json.dumps(summary), flush=True)
    if refused:
        shown = "; ".join(f"{name}: {code}" for name, code in refused[:5])
        more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
        raise StageError(
            "ImagesRefused",
            f"{len(refused)} of {len(requests)} images were refused ({shown}{more}); the others were done.",
            "Correct these images as each one's own error says, and predict them again.",
            field="images",
        )
    return 0


def find_images(paths: list[Path], channels: int) -> list[Request]:
    """What to predict, sorted by name.

    Raises:
        StageError: ImagesMissing, NoImages, ChannelsIncomplete, ImageNamesClash.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise StageError(
                "ImagesMissing",
                f"{path} does not exist.",
                "Name NIfTI files, DICOM folders, or folders of them.",
                field="images",
                got=str(path),
            )
        found += _images_in(path)
    requests = _grouped(found, channels)
    if not requests:
        raise StageError(
            "NoImages",
            "There is no image where --images points: neither NIfTI files nor folders of DICOM.",
            "Name NIfTI files, DICOM folders, or folders of them.",
            field="images",
        )
    return requests


def _images_in(path: Path) -> list[Path]:
    """NIfTI files and DICOM folders at a path; names with a dot or an underscore in front are litter."""
    if path.is_file():
        return [path]
    entries = sorted(p for p in path.iterdir() if not p.name.startswith((".", "_")))
    niftis = [p for p in entries if p.is_file() and _NIFTI.search(p.name)]
    folders = [p for p in entries if p.is_dir()]
    if not niftis and any(p.is_file() for p in entries):
        return [path]
    return niftis + [p for p in folders if any(p.iterdir())]


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else _NIFTI.sub("", path.name)


def _grouped(paths: list[Path], channels: int) -> list[Request]:
    groups: dict[str, dict[int, Path]] = {}
    for path in paths:
        # A link is called what it is called; "." and ".." alone have no name of their own.
        stem = _stem(path if path.name not in ("", "..") else path.resolve())
        channel = _CHANNEL.search(stem) if channels > 1 else None
        name = stem[: channel.start()] if channel else stem
        members = groups.setdefault(name, {})
        position = int(channel[1]) if channel else 0
        if position in members:
            raise StageError(
                "ImageNamesClash",
                f"Two images would get the mask {name}.nii.gz.",
                "Give them different names, or predict them into different folders.",
                field="images",
                got=name,
            )
        members[position] = path
    for name, members in groups.items():
        # A single file may hold all channels as a fourth dimension: reading decides.
        if len(members) > 1 and sorted(members) != list(range(channels)):
            raise StageError(
                "ChannelsIncomplete",
                f"The image {name} has channels {sorted(members)}, the model needs 0 to {channels - 1}.",
                f"Give {channels} files, {name}_0000 to {name}_{channels - 1:04d}.",
                field="images",
                got=str(sorted(members)),
                allowed=f"0 to {channels - 1}",
            )
    in_order = sorted(groups.items())
    return [Request(name, tuple(members[i] for i in sorted(members))) for name, members in in_order]


def _check_targets(requests: list[Request], out: Path) -> None:
    """A mask has its image's name: in the image's own folder it would take the image's place."""
    inputs = {path.resolve() for request in requests for path in request.paths}
    for request in requests:
        if (out / f"{request.name}.nii.gz").resolve() in inputs:
            raise StageError(
                "OutputIsInput",
                "A mask would be written over its image: --out is the images' own folder.",
                "Name another folder in --out.",
                field="out",
                got=str(out),
            )


def _predict_all(
    model: ModelFolder, engine: engines.Engine, requests: list[Request], out: Path, models: int
) -> tuple[dict[str, object], list[tuple[str, str]]]:
    progress = Progress("infer", "predict", None, len(requests), "images")
    done = 0.0

    def on_windows(share: float) -> None:
        nonlocal done
        done += share
        progress.update(min(round(done, 3), progress.total - 0.001))

    window = SlidingWindow(engine, model.patch, model.infer, on_windows)
    preparation = Preparation.of(model)
    affines: dict[str, Affine] = {}

    def load(request: Request) -> Prepared:
        channels = read_channels([_uri_of(path) for path in request.paths], model.channels)
        affines[request.name] = channels[0].affine
        voxels_czyx = [volume.voxels_zyx for volume in channels]
        return prepare(voxels_czyx, channels[0].spacing_mm_zyx, preparation, where=engine.device)

    def write(request: Request, mask_zyx: npt.NDArray[np.uint8]) -> dict[str, int]:
        target = out / f"{request.name}.nii.gz"
        staged = target.with_name(f".write-{target.name}")
        write_mask(staged, mask_zyx, affines.pop(request.name))
        staged.replace(target)
        counts = np.bincount(mask_zyx.ravel(), minlength=len(model.labels))
        return {label.name: int(counts[label.value]) for label in model.labels[1:]}

    warm_up(window, len(model.channels), model.patch)
    refused: list[tuple[str, str]] = []
    began = time.perf_counter()
    for outcome in predict(window, requests, load, write):
        if outcome.error:
            done += 1
            refused.append((outcome.case.name, outcome.error.code))
            print(json.dumps(_refusal_of(outcome.case.name, outcome.error)), flush=True)
        else:
            print(json.dumps(_said_of(outcome)), flush=True)
    progress.update(progress.total)
    seconds = time.perf_counter() - began
    predicted = len(requests) - len(refused)
    summary: dict[str, object] = {
        "images": len(requests),
        "predicted": predicted,
        "refused": len(refused),
        "models": models,
        "engine": engine.name,
        "precision": engine.precision,
        "device": engine.host().device,
        "windows": window.timings.windows,
        "fileToMaskSeconds": round(seconds, 3),
        "volumesPerSecond": round(predicted / seconds, 4) if seconds > 0 else 0,
    }
    return summary, refused


def _classify_all(
    model: ModelFolder, engine: engines.Engine, requests: list[Request], out: Path, models: int
) -> tuple[dict[str, object], list[tuple[str, str]]]:
    """Writes predictions.csv, a row an image; returns what `_predict_all` does."""
    progress = Progress("infer", "predict", None, len(requests), "images")
    classify = WholeVolume(engine, model.patch, mirroring=model.infer.mirroring)
    preparation = Preparation.of(model)
    refused: list[tuple[str, str]] = []
    rows: list[list[object]] = []
    began = time.perf_counter()
    for done, request in enumerate(requests, 1):
        try:
            channels = read_channels([_uri_of(path) for path in request.paths], model.channels)
            voxels_czyx = [volume.voxels_zyx for volume in channels]
            prepared = prepare(voxels_czyx, channels[0].spacing_mm_zyx, preparation, where=engine.device)
        except StageError as error:
            refused.append((request.name, error.code))
            print(json.dumps(_refusal_of(request.name, error)), flush=True)
            continue
        found = classified(model, classify(prepared.image_cdhw).probabilities_k, None)
        rows.append([request.name, found.predicted, *found.probabilities.values()])
        said = {"type": "prediction", "image": request.name, **contract.to_json(found)}
        print(json.dumps(said), flush=True)
        progress.update(done)
    seconds = time.perf_counter() - began
    target = out / PREDICTIONS_FILE
    staged = target.with_name(f".write-{target.name}")
    with staged.open("w", newline="") as file:
        csv.writer(file).writerows([["image", "predicted", *(model.classes or [])], *rows])
    staged.replace(target)
    summary: dict[str, object] = {
        "images": len(requests),
        "predicted": len(rows),
        "refused": len(refused),
        "predictionsFile": str(target),
        "models": models,
        "engine": engine.name,
        "precision": engine.precision,
        "device": engine.host().device,
        "fileToMaskSeconds": round(seconds, 3),
        "volumesPerSecond": round(len(rows) / seconds, 4) if seconds > 0 else 0,
    }
    return summary, refused


def _uri_of(path: Path) -> str:
    return path.resolve().as_uri() + ("/" if path.is_dir() else "")


def _refusal_of(image: str, error: StageError) -> dict[str, object]:
    """Not of type error: that is what a command ends with, and the others go on."""
    return {"type": "refusal", "image": image, "error": error.to_document()}


def _said_of(outcome: Outcome[Request, dict[str, int]]) -> dict[str, object]:
    return {
        "type": "prediction",
        "image": outcome.case.name,
        "mask": f"{outcome.case.name}.nii.gz",
        "voxels": outcome.written,
        "windows": outcome.windows,
        "seconds": round(outcome.seconds, 3),
    }

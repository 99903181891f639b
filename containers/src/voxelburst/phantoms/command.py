"""`python -m voxelburst phantoms --out DIR --seed N`: progress events, then one JSON object, on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..errors import StageError
from ..progress import Progress
from .dataset import Request, expected_path, write_dataset


def main(argv: list[str]) -> int:
    """Generates a dataset; the same arguments find it again and give the same bytes.

    Raises:
        StageError: FolderNotEmpty, ArgumentInvalid.
    """
    options = _parser().parse_args(argv)
    _check(options)
    request = Request(
        seed=options.seed,
        cases=options.cases,
        test_cases=options.test_cases,
        dicom=options.cases // 4 if options.dicom is None else options.dicom,
        size=options.size,
        shape_xyz=tuple(options.shape) if options.shape else None,
        spacing_xyz=tuple(options.spacing) if options.spacing else None,
        planted=not options.classes if options.bad is None else options.bad,
        classes=options.classes,
    )
    out = Path(options.out).resolve()

    # The first stage that reads the dataset lends its name: progress events know stages alone.
    progress = Progress("ingest", "phantoms", None, request.cases + request.test_cases, "cases")
    expected = write_dataset(out, request, progress.update)
    if expected["skipped"]:
        print("phantoms: the dataset exists already, made with the same arguments", file=sys.stderr)
    summary = {
        "type": "phantoms",
        "dataset": str(out),
        "expected": str(expected_path(out)),
        "training": expected["training"],
        "test": expected["test"],
        "planted": len(expected["quarantine"]),
        "skipped": expected["skipped"],
    }
    print(json.dumps(summary), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m voxelburst phantoms",
        description="Generate a labelled dataset of CT-like phantoms: an organ and a lesion inside it.",
    )
    parser.add_argument(
        "--out", required=True, help="folder of the dataset; <out>.expected.json goes beside it"
    )
    parser.add_argument("--seed", type=int, required=True, help="the same seed gives the same bytes")
    parser.add_argument("--cases", type=int, default=16, help="good training cases (16)")
    parser.add_argument("--test-cases", type=int, default=1, help="cases without label, to be predicted (1)")
    parser.add_argument("--dicom", type=int, help="training cases given as DICOM series (a quarter)")
    parser.add_argument("--size", type=int, default=48, help="voxels a side, -12 %% to +25 %% (48)")
    parser.add_argument("--shape", type=int, nargs=3, metavar=("X", "Y", "Z"), help="voxels of every case")
    parser.add_argument("--spacing", type=float, nargs=3, metavar=("X", "Y", "Z"), help="mm, of every case")
    parser.add_argument(
        "--bad",
        action=argparse.BooleanOptionalAction,
        help="plant cases for quarantine (yes, but with --classes)",
    )
    parser.add_argument(
        "--classes",
        action="store_true",
        help="of whole volumes instead of labels: without and with a lesion, half of the cases each",
    )
    return parser


def _check(options: argparse.Namespace) -> None:
    if options.classes and options.bad:
        raise StageError(
            "ArgumentInvalid",
            "--bad plants faults of labels, which a dataset of --classes has not.",
            "Leave out one of the two.",
            field="--bad",
        )
    ranges = {
        "--seed": ([options.seed], 0, 2**31 - 1),
        "--cases": ([options.cases], 1, 10_000),
        "--test-cases": ([options.test_cases], 0, 10_000),
        "--dicom": ([0 if options.dicom is None else options.dicom], 0, options.cases),
        "--size": ([options.size], 16, 1024),
        "--shape": (options.shape or [16], 16, 1024),
        "--spacing": (options.spacing or [1.0], 0.1, 10.0),
    }
    for name, (values, least, most) in ranges.items():
        for value in values:
            if not least <= value <= most:
                raise StageError(
                    "ArgumentInvalid",
                    f"{name} is {value}; allowed: {least} to {most}.",
                    f"Give {name} a value in that range.",
                    field=name,
                    got=str(value),
                    allowed=f"{least} to {most}",
                )

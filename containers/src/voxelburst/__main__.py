"""`python -m voxelburst <stage> --task <uri>`, and what the CLI starts: bench, predict, phantoms, machine."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys

from . import errors, host, paths, version_matrix

STAGES = ("ingest", "preprocess", "train", "compile", "infer")
COMMANDS = {
    "bench": "voxelburst.bench",
    "predict": "voxelburst.predict",
    "phantoms": "voxelburst.phantoms",
    "machine": "voxelburst.machine",
    "serve": "voxelburst.serve",
}


def _run_stage(name: str, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog=f"python -m voxelburst {name}")
    parser.add_argument(
        "--task", help="URI of the task document; SageMaker gives it as the hyperparameter 'task'"
    )
    parser.add_argument("--serve", action="store_true", help="infer: answer SageMaker's transform contract")
    options = parser.parse_args(arguments)
    if options.serve:
        return importlib.import_module("voxelburst.serve").main([])
    task_uri = options.task or (paths.hyperparameters().get("task") if paths.in_training_job() else None)
    if not task_uri:
        parser.error("--task is required")
    from .stage import execute

    run = version_matrix.checked(name, importlib.import_module(f"voxelburst.stages.{name}").run)
    return execute(name, run, task_uri, began_seconds_ago=host.process_age_seconds())


def main(argv: list[str]) -> int:
    if not argv or argv[0] not in (*STAGES, *COMMANDS):
        known = ", ".join((*STAGES, *COMMANDS))
        print(f"usage: python -m voxelburst COMMAND ...\nCOMMAND is one of {known}", file=sys.stderr)
        return 1
    name, rest = argv[0], argv[1:]
    try:
        if name in STAGES:
            return _run_stage(name, rest)
        version_matrix.check_image(name)
        return importlib.import_module(COMMANDS[name]).main(rest)
    except Exception as cause:
        error = errors.from_exception(cause)
        print(json.dumps({"type": "error", **error.to_document()}), flush=True)
        if os.environ.get("VOXELBURST_DEBUG"):
            raise
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""SageMaker's directories: the only place that knows /opt/ml. SAGEMAKER_BASE_DIR relocates them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def base() -> Path:
    return Path(os.environ.get("SAGEMAKER_BASE_DIR") or "/opt/ml")


def in_training_job() -> bool:
    """Whether SageMaker, or the local engine in its place, started this process."""
    return (base() / "input" / "config" / "hyperparameters.json").exists()


def _config(name: str) -> dict[str, Any]:
    path = base() / "input" / "config" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def hyperparameters() -> dict[str, str]:
    return _config("hyperparameters")


def resource_config() -> dict[str, Any]:
    """current_host, hosts (sorted), network_interface_name."""
    return _config("resourceconfig")


def channel(name: str) -> Path:
    return base() / "input" / "data" / name


def model() -> Path:
    return base() / "model"


def checkpoints() -> Path:
    return base() / "checkpoints"


def output_data() -> Path:
    return base() / "output" / "data"


def write_failure(text: str) -> None:
    """SageMaker shows the first 1,024 characters as the job's FailureReason."""
    path = base() / "output" / "failure"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

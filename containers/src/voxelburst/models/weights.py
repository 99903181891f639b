"""A model's weights as a file: a plain state dict of float32 tensors, read without running code from it."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import torch
from torch import nn

from ..errors import StageError

WEIGHTS_FILE = "weights.pt"


def save_weights(model: nn.Module, path: Path) -> None:
    """Writes the state dict, contiguous float32 on the CPU: the same bytes for the same weights."""
    state = {
        # clone: a view would drag the storage behind it into the file.
        name: tensor.detach().to("cpu", torch.float32).clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)  # straight to a file, it would hide the system's error
    path.write_bytes(buffer.getbuffer())


def load_weights(model: nn.Module, path: Path) -> None:
    """Reads what `save_weights` wrote into a model of the same network.

    Raises:
        StageError: WeightsUnreadable, when the file is no state dict of this network.
    """
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as cause:
        raise StageError(
            "WeightsUnreadable",
            f"{path.name} does not hold weights of the network that the plan describes.",
            "Use the model folder as the training wrote it, or train again.",
        ) from cause

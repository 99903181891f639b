"""Predicts volumes that are named by URI: what the transform server does with a record."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import contract, engines, metrics, model_folder
from ..engines import Site
from ..errors import StageError
from ..preprocessing import Preparation, Prepared, prepare
from ..volumes import Volume, write_mask
from ..volumes.checks import check_label, check_same_grid
from ..volumes.source import read_nifti_at
from .pipeline import predict, warm_up
from .sliding_window import SlidingWindow
from .sources import named_by_uri, read_channels, store_and_key


class RemotePredictor:
    """A loaded model folder. Not for several threads at once."""

    def __init__(self, folder: Path, engine: str | None) -> None:
        """Loads an engine of the folder, its own where none is named.

        Raises:
            StageError: of the model folder or the engine.
        """
        self._model = model_folder.read(folder)
        if self._model.classes:
            raise StageError(
                "ModelClassifies",
                "The model tells classes of whole volumes apart; a record of the server wants a mask.",
                "Use `voxelburst predict`, which writes the probabilities of each image.",
                field="model",
            )
        self._preparation = Preparation.of(self._model)
        loaded = engines.load(Site.of(folder, self._model), self._model, engine)
        self._window = SlidingWindow(loaded, self._model.patch, self._model.infer)
        warm_up(self._window, len(self._model.channels), self._model.patch)

    def predict(self, record: dict[str, Any]) -> dict[str, Any]:
        """Writes the mask of a record and returns what the answer says of it.

        Args:
            record: ``image`` URIs, one a channel; ``mask`` URI; ``reference`` URI or absent.

        Raises:
            StageError: of the image, the reference or the store.
        """
        first: list[Volume] = []

        def load(_: str) -> Prepared:
            channels = read_channels(record["image"], self._model.channels)
            # The grid is what is needed of it later.
            first.append(channels[0])
            voxels_czyx = [volume.voxels_zyx for volume in channels]
            where = self._window.engine.device
            return prepare(voxels_czyx, channels[0].spacing_mm_zyx, self._preparation, where=where)

        def write(_: str, mask_zyx: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
            _put_mask(record["mask"], mask_zyx, first[0])
            return mask_zyx

        (outcome,) = predict(self._window, [record["mask"]], load, write)
        if outcome.error:
            raise outcome.error
        assert outcome.written is not None
        answer: dict[str, Any] = {
            "mask": record["mask"],
            "windows": outcome.windows,
            "seconds": round(outcome.seconds, 4),
        }
        if "reference" in record:
            answer |= self._scores(record["reference"], first[0], outcome.written)
        return answer

    def _scores(self, uri: str, image: Volume, mask_zyx: npt.NDArray[np.uint8]) -> dict[str, Any]:
        store, key = store_and_key(uri)
        with named_by_uri():
            reference = read_nifti_at(store, key, "Label", is_label=True).channels[0]
            check_same_grid(image, reference, "Label")
            reference_zyx, _, _ = check_label(reference, self._model.labels)
        scores = metrics.score_case(
            mask_zyx,
            reference_zyx,
            self._model.labels,
            image.spacing_mm_zyx,
            self._model.infer.nsd_tolerance_mm,
        )
        return {
            "classes": [contract.to_json(score) for score in scores],
            "meanDice": metrics.mean_dice(scores),
        }


def _put_mask(uri: str, mask_zyx: npt.NDArray[np.uint8], image: Volume) -> None:
    store, key = store_and_key(uri)
    with tempfile.TemporaryDirectory(prefix="voxelburst-serve-") as folder:
        path = Path(folder) / "mask.nii.gz"
        write_mask(path, mask_zyx, image.affine)
        store.upload(path, key)

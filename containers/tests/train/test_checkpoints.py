"""Checkpoints: whole or absent, the newest wins."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch

from voxelburst.errors import StageError, from_exception
from voxelburst.storage import Store
from voxelburst.training import checkpoints as module
from voxelburst.training.checkpoints import SLOTS, Checkpoints


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/artefacts/")


def state(step: int) -> dict:
    return {"step": step, "network": {"w": torch.full((3,), float(step))}}


def test_the_newest_comes_back_and_two_are_kept(store: Store) -> None:
    assert Checkpoints(store, "train/x/checkpoints/").newest() is None
    written = Checkpoints(store, "train/x/checkpoints/")
    for step in (1, 2, 3):
        written.save(state(step))
    found = Checkpoints(store, "train/x/checkpoints/").newest()
    assert found is not None and found["step"] == 3
    assert torch.equal(found["network"]["w"], torch.full((3,), 3.0))
    assert store.names("train/x/checkpoints/") == sorted(SLOTS)


def test_a_resumed_training_replaces_the_older_one(store: Store) -> None:
    first = Checkpoints(store, "c/")
    for step in (1, 2, 3):
        first.save(state(step))
    resumed = Checkpoints(store, "c/")
    resumed.newest()
    resumed.save(state(4))
    kept = [torch.load(store.local(f"c/{name}"), weights_only=True)["step"] for name in SLOTS]
    assert sorted(kept) == [3, 4]


def test_a_damaged_one_gives_way_to_the_one_before_it(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    written = Checkpoints(store, "c/")
    written.save(state(1))
    written.save(state(2))
    newest = store.local(f"c/{SLOTS[1]}")
    newest.write_bytes(newest.read_bytes()[:200])
    found = Checkpoints(store, "c/").newest()
    assert found is not None and found["step"] == 1
    assert SLOTS[1] in capsys.readouterr().err


def test_says_so_when_none_can_be_read(store: Store) -> None:
    store.write(f"c/{SLOTS[0]}", b"no checkpoint")
    with pytest.raises(StageError, match="No checkpoint of this training can be read") as error:
        Checkpoints(store, "c/").newest()
    assert error.value.code == "CheckpointUnreadable"


def test_code_in_a_checkpoint_is_not_run(store: Store, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    torch.save({"step": 1, "evil": Evil()}, store.scratch(f"c/{SLOTS[0]}"))
    store.upload(store.scratch(f"c/{SLOTS[0]}"), f"c/{SLOTS[0]}")
    with pytest.raises(StageError):
        Checkpoints(store, "c/").newest()
    assert not (tmp_path / "touched").exists()


def test_a_full_disk_leaves_the_old_ones_and_is_called_that(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Checkpoints(store, "c/")
    written.save(state(1))
    written.save(state(2))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        written.save(state(3))
    assert from_exception(error.value).code == "DiskFull"
    found = Checkpoints(store, "c/").newest()
    assert found is not None and found["step"] == 2
    assert store.names("c/") == sorted(SLOTS)


def test_under_sagemaker_they_lie_in_its_checkpoint_folder(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "ml" / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text(json.dumps({"task": "file:///x"}))
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path / "ml"))
    Checkpoints(store, "c/").save(state(1))
    assert (tmp_path / "ml" / "checkpoints" / SLOTS[0]).exists()
    assert not store.exists(f"c/{SLOTS[0]}")


def test_in_a_bucket_they_lie_below_the_trainings_output() -> None:
    bucket = Store("memory://bucket/artefacts/")
    written = Checkpoints(bucket, "train/x/checkpoints/")
    for step in (1, 2, 3):
        written.save(state(step))
    assert bucket.names("train/x/checkpoints/") == sorted(SLOTS)
    found = Checkpoints(bucket, "train/x/checkpoints/").newest()
    assert found is not None and found["step"] == 3

"""The `triton` loader against the `torch` loader, its kernels executed by Triton's interpreter on the CPU.

Not collected by itself: Triton reads TRITON_INTERPRET when it is imported, so test_triton_loader.py runs this
file in a process of its own.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from test_loaders import OPTIONS, tissue, write_cases
from triton_interpreter import use_interpreter

from voxelburst.kernels import augment_triton
from voxelburst.loaders import Cases, Sampling, open_loader, triton_loader
from voxelburst.loaders.draws import PLAIN, Draw

use_interpreter()

# Odd sizes, so that blocks and parts end in the middle of a row.
PATCH = (7, 9, 8)
SAMPLING = Sampling(seed=5, patch=PATCH, batch=3, channels=2, dummy2d=False)
TWO = dataclasses.replace(OPTIONS, positions=range(3), masked=[False, True])


@pytest.fixture(autouse=True)
def small_blocks_of_poisoned_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(augment_triton, "_BLOCK", 128)
    monkeypatch.setattr(augment_triton, "_MAX_PARTS", 3)
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def cases(tmp_path: Path) -> Cases:
    return write_cases(tmp_path, tissue, channels=2)


class Altered(Sampling):
    """A sampling whose draws are altered, to see one transform alone."""

    def draw(self, *arguments) -> Draw:
        return alter(super().draw(*arguments))


def alter(draw: Draw) -> Draw:
    return dataclasses.replace(draw, noise_sigma=None)


def altered() -> Altered:
    return Altered(**dataclasses.asdict(SAMPLING))


def test_gives_the_torch_loaders_samples_but_for_the_noises_own_field(cases: Cases) -> None:
    ours, theirs = (open_loader(kind)(cases, altered(), TWO) for kind in ("triton", "torch"))
    for step in range(4):
        a, b = next(ours), next(theirs)
        assert a.image_ncdhw.shape == (3, 2, *PATCH)
        assert a.label_ndhw.dtype == torch.uint8
        for position in range(3):
            draw = SAMPLING.draw(step, position, cases.shapes, cases.foreground)
            differs = a.label_ndhw[position] != b.label_ndhw[position]
            assert differs.float().mean() < 2e-3, draw
            for c in range(2):
                error = (a.image_ncdhw[position, c] - b.image_ncdhw[position, c]).abs()[~differs]
                # Nearest neighbours on a tie go either way: those samples are compared by the bulk of them.
                if draw.channels[c].zoom is None:
                    assert error.max() < 2e-3, draw
                else:
                    assert error.median() < 1e-3, draw


@pytest.mark.parametrize(
    "change",
    [
        {"blur_sigma": (0.6, 0.9, 0.7)},
        {"brightness": 1.2},
        {"contrast": 1.2},
        {"zoom": 0.55},
        {"inverted_gamma": 1.4},
        {"gamma": 0.75},
        {"brightness": 0.8, "contrast": 0.8, "zoom": 0.83, "inverted_gamma": 0.72, "gamma": 1.45},
    ],
    ids=lambda change: "+".join(change),
)
def test_each_transform_is_the_torch_loaders(
    change: dict, cases: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_this(draw: Draw) -> Draw:
        channels = [PLAIN, dataclasses.replace(PLAIN, **change)]
        return dataclasses.replace(draw.plain(), channels=channels, mirror=draw.mirror)

    monkeypatch.setitem(globals(), "alter", only_this)
    a, b = (next(open_loader(kind)(cases, altered(), TWO)) for kind in ("triton", "torch"))
    assert torch.equal(a.image_ncdhw[:, 0], b.image_ncdhw[:, 0])
    assert torch.equal(a.label_ndhw, b.label_ndhw)
    torch.testing.assert_close(a.image_ncdhw, b.image_ncdhw, rtol=0, atol=1e-3)


def test_noise_is_normal_of_the_drawn_sigma_and_shared_by_channels(
    cases: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noisy(sigma: float | None):
        return lambda draw: dataclasses.replace(draw.plain(), noise_sigma=sigma)

    def batch(sigma: float | None, step: int = 0) -> torch.Tensor:
        monkeypatch.setitem(globals(), "alter", noisy(sigma))
        options = dataclasses.replace(TWO, first_step=step, masked=[False, False])
        return next(open_loader("triton")(cases, altered(), options)).image_ncdhw

    plain, changed = batch(None), batch(0.08)
    field = ((changed - plain) / 0.08).numpy()
    np.testing.assert_allclose(field[:, 0], field[:, 1], atol=1e-4)
    for sample in field[:, 0]:
        assert scipy.stats.kstest(sample.ravel(), "norm").pvalue > 1e-4
    assert abs(np.corrcoef(field[0, 0].ravel(), field[1, 0].ravel())[0, 1]) < 0.1
    assert torch.equal(batch(0.08), changed)
    assert not torch.equal(batch(0.08, step=1), changed)


def test_a_step_is_the_same_bit_for_bit_wherever_the_loader_starts_and_whatever_shares_its_batch(
    cases: Cases,
) -> None:
    def images(first_step: int, positions: range, count: int) -> list[torch.Tensor]:
        options = dataclasses.replace(TWO, first_step=first_step, positions=positions)
        made = itertools.islice(open_loader("triton")(cases, SAMPLING, options), count)
        return [batch.image_ncdhw.clone() for batch in made]

    whole = images(0, range(3), 4)
    assert torch.equal(images(3, range(3), 1)[0], whole[3])
    assert torch.equal(images(3, range(2, 3), 1)[0], whole[3][2:])


def test_regions_streamed_from_memory_give_what_resident_cases_give(
    cases: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
        loader = open_loader("triton")(cases, SAMPLING, TWO)
        return [(b.image_ncdhw.clone(), b.label_ndhw.clone()) for b in itertools.islice(loader, 3)]

    assert triton_loader.fits(cases, torch.device("cpu"))
    resident = batches()
    monkeypatch.setattr(triton_loader, "RESIDENT_SHARE", 0)
    for (a, label_a), (b, label_b) in zip(resident, batches(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-3)
        assert (label_a != label_b).float().mean() < 1e-3

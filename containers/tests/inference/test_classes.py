"""Classes of whole volumes: scores, the centred volume, the network, the gate, the loss, the loader."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from voxelburst import models
from voxelburst.contract import Network
from voxelburst.engines import class_parity
from voxelburst.engines.engine import Engine
from voxelburst.inference.whole import WholeVolume, centred
from voxelburst.loaders import LoaderOptions, Sampling, class_loader
from voxelburst.metrics.classification import accuracy, auc, macro_auc
from voxelburst.training.class_loss import class_loss

NETWORK = Network(
    model="resnet3d",
    input_channels=2,
    output_classes=3,
    features=[4, 4, 8, 16, 32],
    strides=[(1, 1, 1), *[(2, 2, 2)] * 4],
    kernels=[(7, 7, 7), *[(3, 3, 3)] * 4],
    deep_supervision_weights=[1],
)


def _pairwise(scores: np.ndarray, positive: np.ndarray) -> float:
    pairs = itertools.product(scores[positive], scores[~positive])
    return float(np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs]))


def test_auc_is_that_of_all_pairs_with_ties_counting_half() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores, positive = rng.integers(0, 5, 20) / 4, rng.random(20) < 0.4
        if positive.any() and not positive.all():
            assert auc(scores, positive) == pytest.approx(_pairwise(scores, positive))
    assert auc([0.1, 0.2], [True, True]) is None


def test_macro_auc_and_accuracy_are_over_classes_and_cases() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.4, 0.3]])
    assert macro_auc(probabilities, [0, 1, 2]) == pytest.approx(1.0)
    assert accuracy(probabilities, [0, 1, 2]) == pytest.approx(2 / 3)


def test_centred_pads_small_axes_and_cuts_large_ones() -> None:
    image = torch.arange(5 * 2).float().reshape(1, 5, 2, 1)
    found = centred(image, (3, 5, 1))
    assert found.shape == (1, 3, 5, 1)
    assert torch.equal(found[0, :, 1:3, 0], image[0, 1:4, :, 0])
    assert found.sum() == image[0, 1:4].sum()


def test_the_network_gives_a_vector_of_logits_in_both_modes() -> None:
    network = models.build(NETWORK)
    volumes = torch.randn(2, 2, 32, 16, 48)
    assert network.train()(volumes).shape == (2, 3)
    assert network.eval()(volumes).shape == (2, 3)


class _Means(Engine):
    """Logits from a volume's mean, and an error that is added to them."""

    def __init__(self, error: float = 0.0) -> None:
        self.device, self.batch, self.name, self.precision = torch.device("cpu"), 1, "torch", "fp32"
        self._error = error

    def __call__(self, windows_ncdhw: torch.Tensor) -> torch.Tensor:
        means = windows_ncdhw.mean((1, 2, 3, 4))
        return torch.stack([-means, means + self._error], 1)


_CASES = [(torch.full((1, 4, 4, 4), value), int(value > 0)) for value in (-2.0, -0.1, 0.1, 2.0)]


@pytest.mark.parametrize(
    ("error", "passes"), [(0.0, True), (0.01, True), (1.0, False), (float("nan"), False)]
)
def test_the_gate_passes_an_engine_that_agrees_and_no_other(error: float, passes: bool) -> None:
    found = class_parity.compare(_Means(), _Means(error), iter(_CASES), (4, 4, 4))
    assert found.passed is passes
    assert found.classification is not None
    assert found.classification.accuracy_fp32 == 1.0


def test_mirroring_averages_probabilities_of_eight_passes() -> None:
    seen = WholeVolume(_Means(), (4, 4, 4), mirroring=True)(_CASES[3][0])
    assert float(seen.probabilities_k.sum()) == pytest.approx(1.0)
    assert float(seen.probabilities_k[1]) == pytest.approx(float(torch.tensor([-2.0, 2.0]).softmax(0)[1]))


def test_balanced_weights_make_each_class_count_the_same() -> None:
    classes = [0, 0, 0, 1]
    weights = class_loader.balanced_weights(classes, 2)
    assert [weights[0] * 3, weights[1]] == pytest.approx([2.0, 2.0])
    logits, truth = torch.randn(4, 2), torch.tensor(classes)
    expected = sum(weights[k] * -logits[n].log_softmax(0)[k] for n, k in enumerate(classes)) / len(classes)
    torch.testing.assert_close(class_loss(logits, truth, torch.tensor(weights)), expected)


def test_the_loader_gives_whole_volumes_and_their_classes(tmp_path: Path) -> None:
    shapes = {"a": (10, 12, 14), "b": (16, 16, 16)}
    for name, shape in shapes.items():
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "image.npy", np.full((1, *shape), 1.0 + (name == "b"), np.float32))
    cases = class_loader.ClassCases({"b": 1, "a": 0}, lambda case, name: tmp_path / case / name, [False])
    sampling = Sampling(seed=0, patch=(16, 16, 16), batch=4, channels=1, dummy2d=False)
    options = LoaderOptions(
        first_step=0,
        positions=range(4),
        classes=2,
        masked=[False],
        device=torch.device("cpu"),
        workers=0,
        augment=False,
    )
    batch = next(class_loader.batches(cases, sampling, options))
    for image, index in zip(batch.image_ncdhw, batch.label_ndhw.tolist(), strict=True):
        expected = centred(torch.from_numpy(cases.images[index]), (16, 16, 16))
        if not index or float(image.max()) == 2.0:
            # Without augmentation it is what inference sees.
            torch.testing.assert_close(image, expected)

"""Implicit sample extension against ISE's equations, one sample and one cluster at a time."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scwm.core.config import changed
from scwm.core.errors import ScwmError
from scwm.method.memory import WeightedMemory
from scwm.method.objective import Objective
from scwm.method.support_samples import (
    EPSILON,
    TEMPERATURE,
    interpolation_degree,
    label_preserving_loss,
    support_samples,
)
from scwm.models import Output
from scwm.models.embedding import Embedding

BATCHES = {
    "several clusters": [0, 0, 3, 3, 1, 1],
    "single samples": [2, 0, 4],
    "one cluster": [1, 1, 1],
    "a cluster apart in the batch": [3, 0, 3, 0],
}
every_batch = pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES)
PROTOTYPES = 5


def unit(*shape: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def plain_supports(
    x: np.ndarray, labels: list[int], prototypes: np.ndarray, share: float
) -> np.ndarray:
    rows = []
    for feature, own in zip(x, labels, strict=True):
        others = [c for c in range(len(prototypes)) if c != own]
        nearest = max(others, key=lambda c: float(feature @ prototypes[c]))
        moved = feature + share * (prototypes[nearest] - prototypes[own])
        rows.append(moved / np.linalg.norm(moved))
    return np.array(rows)


def plain_loss(x: np.ndarray, supports: np.ndarray, labels: list[int]) -> float:
    loss = 0.0
    for feature, own in zip(x, labels, strict=True):
        powers: dict[int, list[float]] = {}
        for support, label in zip(supports, labels, strict=True):
            powers.setdefault(label, []).append(math.exp(float(feature @ support) / TEMPERATURE))
        least = min(powers[own])
        others = sum(max(values) for label, values in powers.items() if label != own)
        loss -= math.log(least / (least + others + EPSILON) + EPSILON) / len(x)
    return loss


@every_batch
def test_support_samples_lie_towards_the_nearest_other_prototype(labels):
    x, prototypes = unit(len(labels), 8, seed=1), unit(PROTOTYPES, 8, seed=2)
    expected = plain_supports(x.double().numpy(), labels, prototypes.double().numpy(), 0.4)
    found = support_samples(x, torch.tensor(labels), prototypes, 0.4)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@every_batch
def test_loss_compares_the_farthest_own_with_the_nearest_of_each_other_cluster(labels):
    x, supports = unit(len(labels), 8, seed=1), unit(len(labels), 8, seed=3)
    found = label_preserving_loss(x, supports, torch.tensor(labels), PROTOTYPES)
    expected = plain_loss(x.double().numpy(), supports.double().numpy(), labels)
    assert float(found) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_loss_passes_the_gradient_of_its_equation():
    labels = torch.tensor(BATCHES["several clusters"])
    x = unit(len(labels), 8, seed=1).double().requires_grad_()
    prototypes = unit(PROTOTYPES, 8, seed=2).double()

    def loss(features: Tensor) -> Tensor:
        supports = support_samples(features, labels, prototypes, 0.4)
        return label_preserving_loss(features, supports, labels, PROTOTYPES)

    assert torch.autograd.gradcheck(loss, x)


def test_the_degree_grows_from_nothing_to_a_quarter_of_its_setting():
    assert interpolation_degree(2.0, 0.0) == 0
    assert interpolation_degree(2.0, 1.0) == pytest.approx(0.5)
    assert interpolation_degree(1.0, 0.5) == pytest.approx(math.log(1 + (math.e - 1) / 2) / 4)


def extended(tiny_config, number: int) -> Objective:
    """An objective at the start of an epoch of `ise_parsed`."""
    labels = torch.arange(4).repeat_interleave(3)
    x, parts, seen = unit(12, 16, seed=1), unit(12, 3, 8, seed=2), torch.ones(12, 3)
    config = tiny_config("ise_parsed", training={"epochs": 4, "iterations": 5})
    start = Objective.of(config, Embedding(x, parts, seen), labels)
    return Objective(config, labels, start.whole.centroids, start.parts.centroids, None, number)


def test_objective_compares_and_moves_with_support_samples(tiny_config):
    """The memory gets samples and support samples; the parts get only the samples."""
    objective, rows = extended(tiny_config, 2), torch.tensor([0, 1, 5, 9])
    plain = WeightedMemory(objective.whole.centroids, strategy="hardest")
    parts = WeightedMemory(objective.parts.centroids, strategy="hardest")
    for step in range(3):
        output = Output(unit(4, 16, seed=5 + step), unit(4, 3, 8, seed=9), torch.ones(4, 3))
        x, labels = output.global_feature, objective.labels[rows]
        share = interpolation_degree(1.0, (2 * 5 + step) / 20)
        supports = support_samples(x, labels, plain.centroids, share)
        both, twice = torch.cat([x, supports]), torch.cat([labels, labels])
        preserved = label_preserving_loss(x, supports, labels, 4)
        losses = objective.losses(output, None, rows)
        torch.testing.assert_close(losses[1], plain(both, twice) + 0.1 * preserved)
        torch.testing.assert_close(losses[2], parts(output.part_features, labels, torch.ones(4, 3)))
        weights = objective.update_weights(output, rows)
        own, supported = plain.weights(both, twice).split(4)
        torch.testing.assert_close(weights[0], own + supported)
        sums = torch.zeros(4).index_add_(0, labels, weights[0])
        torch.testing.assert_close(sums[labels.unique()], torch.ones(len(labels.unique())))
        assert weights.shape == (1 + 3, 4)
        objective.update(output, rows)
        plain.update(both, twice)
        torch.testing.assert_close(objective.whole.centroids, plain.centroids)
        parts.update(output.part_features, labels, torch.ones(4, 3))
        torch.testing.assert_close(objective.parts.centroids, parts.centroids)


def test_the_first_step_of_a_training_has_support_samples_at_the_samples(tiny_config):
    objective, rows = extended(tiny_config, 0), torch.tensor([0, 4, 8])
    x = unit(3, 16, seed=5)
    both, _ = objective._extended(x, objective.labels[rows])
    torch.testing.assert_close(both, torch.cat([x, x]))


@pytest.mark.parametrize(
    "other", [{"memory": {"global_entries": "images"}}, {"refinement": {"neighbours": 20}}]
)
def test_support_samples_without_prototypes_that_move_are_an_error(tiny_config, other):
    with pytest.raises(ScwmError, match=r"support\.degree is above 0"):
        changed(tiny_config("ise_parsed"), other)

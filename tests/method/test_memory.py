"""The weighted memory against its definition, one cluster and one sample at a time."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scwm.core.errors import ScwmError
from scwm.method.memory import WeightedMemory, cluster_means

STRATEGIES = ("uniform", "hardest", "hard_mining", "noise_suppression")


def unit(*shape: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    labels = torch.tensor([4, 4, 0, 2, 2, 2, 4, 0, 6, 6])
    seen = torch.tensor([0.2, 0.0, 0.5, 0.1, 0.3, 0.2, 0.4, 0.1, 0.0, 0.0])
    return unit(10, 16, seed=1), labels, seen


def plain_weights(
    memory: WeightedMemory, features: Tensor, labels: Tensor, visibility: Tensor
) -> np.ndarray:
    """The table of docs/method.md, section 4, in Python loops and float64."""
    weights = np.zeros(len(labels))
    for cluster in set(labels.tolist()):
        members = [i for i in range(len(labels)) if labels[i] == cluster and visibility[i] > 0]
        centre = memory.centroids[cluster].double()
        alpha = {i: 1 - float(features[i].double() @ centre) for i in members}
        for i in members:
            if memory.strategy == "hardest":
                weights[i] = float(i == max(members, key=lambda j: alpha[j]))
            else:
                sign = {"uniform": 0, "hard_mining": 1, "noise_suppression": -1}[memory.strategy]
                weights[i] = float(visibility[i]) * np.exp(sign * alpha[i] / memory.tau)
        total = weights[members].sum()
        if total:
            weights[members] /= total
    return weights


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("tau", [0.02, 0.1, 10.0])
def test_weights_are_the_definition(batch, strategy, tau):
    features, labels, seen = batch
    memory = WeightedMemory(unit(7, 16, seed=2), strategy=strategy, tau=tau)
    expected = plain_weights(memory, features, labels, seen)
    np.testing.assert_allclose(memory.weights(features, labels, seen), expected, atol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_update_is_the_definition_cluster_by_cluster(batch, strategy):
    features, labels, seen = batch
    memory = WeightedMemory(unit(7, 16, seed=2), momentum=0.3, strategy=strategy)
    before = memory.centroids.clone()
    weights = plain_weights(memory, features, labels, seen)
    memory.update(features, labels, seen)
    for cluster in range(7):
        mine = labels.numpy() == cluster
        if not weights[mine].sum():
            assert torch.equal(memory.centroids[cluster], before[cluster])
            continue
        drawn = (weights[mine, None] * features.numpy()[mine]).sum(0)
        moved = 0.3 * before[cluster].numpy() + 0.7 * drawn
        np.testing.assert_allclose(
            memory.centroids[cluster], moved / np.linalg.norm(moved), atol=1e-6
        )


@pytest.mark.parametrize("strategy", [*STRATEGIES, "sequential"])
def test_memory_of_parts_is_one_memory_for_each_part(strategy):
    """Loss, its gradient, weights and update."""
    centroids, features = unit(7, 3, 16, seed=1), unit(24, 3, 16, seed=2)
    draws = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 5, (24,), generator=draws)
    seen = (torch.rand(24, 3, generator=draws) - 0.4).clamp(min=0)
    seen[labels == 1, 2] = 0  # this part of a cluster does not move
    together = WeightedMemory(centroids, strategy=strategy)
    apart = [WeightedMemory(centroids[:, k], strategy=strategy) for k in range(3)]
    x, y = features.clone().requires_grad_(), features.clone().requires_grad_()
    loss = together(x, labels, seen)
    terms = [memory(y[:, k], labels, seen[:, k]) for k, memory in enumerate(apart)]
    assert float(loss.detach()) == pytest.approx(float(sum(terms).detach()) / 3, rel=1e-6)
    loss.backward()
    (sum(terms) / 3).backward()
    torch.testing.assert_close(x.grad, y.grad)
    plain = [memory(features[:, k], labels) for k, memory in enumerate(apart)]
    assert float(together(features, labels)) == pytest.approx(float(sum(plain)) / 3, rel=1e-6)
    weights = together.weights(features, labels, seen)
    together.update(features, labels, seen)
    for k, memory in enumerate(apart):
        own = features[:, k], labels, seen[:, k]
        torch.testing.assert_close(weights[:, k], memory.weights(*own))
        memory.update(*own)
        torch.testing.assert_close(together.centroids[:, k], memory.centroids)
    assert torch.equal(together.centroids[1, 2], F.normalize(centroids[1, 2], dim=0))


def test_sequential_update_is_one_sample_after_the_other(batch):
    """As the code of Cluster Contrast, in float64; samples that are not visible move nothing."""
    features, labels, seen = batch
    memory = WeightedMemory(unit(7, 16, seed=2), momentum=0.1, strategy="sequential")
    expected = memory.centroids.double().numpy()
    for feature, label, visible in zip(features.double(), labels, seen, strict=True):
        if visible:
            moved = 0.1 * expected[label] + 0.9 * feature.numpy()
            expected[label] = moved / np.linalg.norm(moved)
    memory.update(features, labels, seen)
    np.testing.assert_allclose(memory.centroids, expected, atol=1e-6)


def test_limits_of_tau():
    features, labels = unit(12, 8, seed=5), torch.arange(12) % 3

    def weights(strategy: str, tau: float) -> Tensor:
        return WeightedMemory(unit(3, 8, seed=6), strategy=strategy, tau=tau).weights(
            features, labels
        )

    assert torch.allclose(weights("hard_mining", 1e-4), weights("hardest", 1), atol=1e-4)
    assert torch.allclose(weights("hard_mining", 1e6), weights("uniform", 1), atol=1e-4)
    assert torch.allclose(weights("noise_suppression", 1e6), weights("uniform", 1), atol=1e-4)


def test_hard_mining_and_noise_suppression_point_opposite_ways():
    features, labels = unit(12, 8, seed=5), torch.zeros(12, dtype=torch.long)
    centre = unit(1, 8, seed=6)
    alpha = 1 - features @ centre[0]
    for strategy, sign in (("hard_mining", 1), ("noise_suppression", -1)):
        weights = WeightedMemory(centre, strategy=strategy).weights(features, labels)
        assert torch.equal(weights.argsort(), (sign * alpha).argsort())


def test_loss_is_weighted_cross_entropy(batch):
    features, labels, seen = batch
    memory = WeightedMemory(unit(7, 16, seed=2), temperature=0.05)
    logits = features.double() @ memory.centroids.double().T / 0.05
    each = -logits.log_softmax(1)[torch.arange(10), labels]
    assert float(memory(features, labels)) == pytest.approx(float(each.mean()), rel=1e-5)
    weighted = float((each * seen).sum() / seen.sum())
    assert float(memory(features, labels, seen)) == pytest.approx(weighted, rel=1e-5)
    assert float(memory(features, labels, torch.zeros(10))) == 0


def test_cluster_means_leave_out_the_unclustered():
    features, labels = unit(6, 4, seed=7), torch.tensor([1, -1, 0, 1, 0, -1])
    means = cluster_means(features, labels)
    for cluster in (0, 1):
        mean = features[labels == cluster].mean(0)
        assert torch.allclose(means[cluster], mean / mean.norm())
    weights = torch.tensor([0.0, 9, 0, 1, 0, 9])
    weighted = cluster_means(features, labels, weights)
    assert torch.allclose(weighted[1], features[3], atol=1e-6)
    assert torch.allclose(weighted[0], means[0]), "weights of 0 give the plain mean"
    parts, seen = torch.stack([features, features.flip(1)], 1), torch.stack([weights, weights], 1)
    both = cluster_means(parts, labels, seen)
    assert torch.equal(both, torch.stack([weighted, weighted.flip(1)], 1))
    with pytest.raises(ScwmError, match="None of 6 samples has a cluster"):
        cluster_means(features, torch.full((6,), -1))


@pytest.mark.parametrize("arguments", [{"strategy": "hard"}, {"centroids": torch.zeros(3)}])
def test_mistakes_are_named(arguments):
    with pytest.raises(ScwmError):
        WeightedMemory(**{"centroids": torch.eye(3), **arguments})


def test_arrays_may_be_numpy(batch):
    features, labels, seen = batch
    one, two = (WeightedMemory(unit(7, 16, seed=2)) for _ in range(2))
    arrays = features.double().numpy(), labels.int().numpy(), seen.numpy()
    assert float(one(*batch)) == pytest.approx(float(two(*arrays)), rel=1e-6)
    one.update(*batch)
    two.update(*arrays)
    assert torch.allclose(one.centroids, two.centroids)

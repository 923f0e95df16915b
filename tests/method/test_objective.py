"""One epoch's memories: the parts' own difficulty and the start that suppresses noise."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scwm.method.losses import diversity_loss, parsing_loss, separation_loss
from scwm.method.memory import cluster_means
from scwm.method.objective import Objective
from scwm.models import Output
from scwm.models.embedding import Embedding

IMAGES, PARTS, WIDTH = 24, 4, 8


@pytest.fixture
def embedding() -> Embedding:
    draws = torch.Generator().manual_seed(0)
    parts = F.normalize(torch.randn(IMAGES, PARTS, WIDTH, generator=draws), dim=2)
    seen = (torch.rand(IMAGES, PARTS, generator=draws) - 0.4).clamp(min=0)
    seen[3] = 0  # nothing of this image is visible
    whole = F.normalize(torch.randn(IMAGES, 5, generator=draws), dim=1)
    return Embedding(whole, parts, seen)


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.tensor([-1, 0, 1, 2] * (IMAGES // 4))


@pytest.mark.parametrize(
    ("strategy", "tau"), [("uniform", 0.2), ("noise_suppression", 0.2), ("noise_suppression", 1e-3)]
)
def test_part_memories_start_from_weighted_means(tiny_config, embedding, labels, strategy, tau):
    """At a small temperature no weight of float32 is above 0, unless relative to the largest."""
    config = tiny_config("scwm", memory={"part_strategy": strategy, "part_tau": tau})
    objective = Objective.of(config, embedding, labels)
    features, seen = embedding.part_features, embedding.visibility
    weights = seen.double()
    if strategy == "noise_suppression":
        first = torch.stack([cluster_means(features[:, k], labels, seen[:, k]) for k in range(4)])
        for i in range(IMAGES):
            if labels[i] >= 0:
                for k in range(PARTS):
                    difficulty = 1 - float(features[i, k] @ first[k, labels[i]])
                    weights[i, k] *= np.exp(-difficulty / tau)
    for k in range(PARTS):
        for cluster in range(3):
            weights[labels == cluster, k] /= weights[labels == cluster, k].max()
        expected = cluster_means(features[:, k], labels, weights[:, k])
        torch.testing.assert_close(objective.parts.centroids[:, k], expected, atol=1e-5, rtol=0)


def test_each_part_is_weighted_by_its_own_difficulty(tiny_config, embedding, labels):
    """One occluded part of an image loses weight, its other parts keep theirs; and a batch is moved
    by the weights that are recorded."""
    config = tiny_config("scwm", memory={"part_strategy": "noise_suppression"})
    kept = labels >= 0
    rows, whole = torch.nonzero(kept)[:, 0], embedding.global_feature[kept]
    parts = embedding.part_features[kept]
    objective = Objective.of(config, embedding, labels)
    seen = torch.ones(len(whole), PARTS)
    weights = objective.update_weights(Output(whole, parts, seen), rows)
    assert weights.shape == (1 + PARTS, len(whole))
    occluded = parts.clone()
    occluded[0, 2] = -objective.parts.centroids[labels[kept][0], 2]
    changed = objective.update_weights(Output(whole, occluded, seen), rows)
    assert changed[1 + 2, 0] < 0.01 * weights[1 + 2, 0]
    others = [0, 1, 2, 4]  # the global memory and the other parts
    assert torch.equal(changed[others], weights[others])
    output = Output(whole, parts, seen)
    before = objective.parts.centroids.clone()
    objective.update(output, rows)
    for k in range(PARTS):
        for cluster in range(3):
            own = labels[kept] == cluster
            drawn = (weights[1 + k][own, None] * parts[own, k]).sum(0)
            expected = F.normalize(0.1 * before[cluster, k] + 0.9 * drawn, dim=0)
            found = objective.parts.centroids[cluster, k]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_loss_is_the_weighted_sum_of_its_terms(tiny_config, embedding, labels):
    """Every term that a method may take away counts by its own weight."""
    weights = {"part": 2.0, "parsing": 3.0, "diversity": 5.0, "separation": 7.0}
    objective = Objective.of(tiny_config("scwm", losses=weights), embedding, labels)
    draws, kept = torch.Generator().manual_seed(1), labels >= 0
    rows, whole = torch.nonzero(kept)[:, 0], embedding.global_feature[kept]
    parts = embedding.part_features[kept]
    seen, own = embedding.visibility[kept], labels[kept]
    logits = torch.randn(len(own), PARTS + 1, 6, 3, generator=draws)
    cells = torch.randint(PARTS + 1, (len(own), 6, 3), generator=draws)
    output = Output(whole, parts, seen, logits.softmax(1), logits)
    total, *terms = objective.losses(output, cells, rows)
    of_parts = []
    for k in range(PARTS):
        products = parts[:, k] @ objective.parts.centroids[:, k].T / objective.parts.temperature
        each = F.cross_entropy(products, own, reduction="none")
        of_parts.append((each * seen[:, k]).sum() / seen[:, k].sum())
    expected = [
        objective.whole(whole, own),
        torch.stack(of_parts).mean(),
        parsing_loss(logits, cells),
        diversity_loss(output.masks[:, 1:]),
        separation_loss(parts, seen, objective.weights.separation_margin),
    ]
    torch.testing.assert_close(torch.stack(terms), torch.stack(expected))
    assert all(float(term) > 0.01 for term in terms)
    summed = sum(w * term for w, term in zip((1, *weights.values()), expected, strict=True))
    torch.testing.assert_close(total, summed)


def test_a_part_that_no_image_shows_does_not_move(tiny_config, embedding, labels):
    objective = Objective.of(tiny_config("scwm"), embedding, labels)
    kept = labels >= 0
    rows = torch.nonzero(kept)[:, 0]
    seen = torch.ones(len(rows), PARTS)
    seen[:, 2] = 0
    before = objective.parts.centroids.clone()
    output = Output(embedding.global_feature[kept], embedding.part_features[kept], seen)
    objective.update(output, rows)
    moved = (objective.parts.centroids != before).any(2).any(0)
    assert moved.tolist() == [True, True, False, True]

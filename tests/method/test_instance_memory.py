"""The memory of images against SpCL's equations, one sample and one class at a time."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scwm.method.instance_memory import EPSILON, InstanceMemory
from scwm.method.objective import Objective
from scwm.models import Output
from scwm.models.embedding import Embedding

CLASSES = torch.tensor([0, 0, 0, 1, 1, 2, 3, 0, 1, 4])  # 2, 3 and 4: one image each
BATCHES = {
    "different images": [0, 3, 5, 7, 9, 4],
    "one image again and again": [2, 2, 5, 2, 5, 2],
    "one class": [0, 1, 2, 7, 0, 1],
    "classes of one image": [5, 6, 9],
    "one sample": [6],
}
every_batch = pytest.mark.parametrize("rows", BATCHES.values(), ids=BATCHES)


def unit(*shape: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def memory_of(slots: Tensor, classes: Tensor) -> InstanceMemory:
    return InstanceMemory(slots, classes, 0.2, 0.05, "sequential", 0.3)


def plain_loss(slots: np.ndarray, features: np.ndarray, rows: list[int], classes: list[int]):
    """The mean of -log(p + EPSILON) and its gradient, in Python loops and float64."""
    names = sorted(set(classes) - {-1})
    means = {
        c: np.mean([slots[i] for i in range(len(slots)) if classes[i] == c], axis=0) for c in names
    }
    loss, gradients = 0.0, []
    for feature, row in zip(features, rows, strict=True):
        powers = {c: math.exp(float(feature @ means[c]) / 0.05) for c in names}
        total = sum(powers.values()) + EPSILON
        share = {c: power / total for c, power in powers.items()}
        own = classes[row]
        loss -= math.log(share[own] + EPSILON) / len(rows)
        slope = -share[own] / (share[own] + EPSILON) / len(rows) / 0.05
        gradients.append(slope * (means[own] - sum(share[c] * means[c] for c in names)))
    return loss, np.array(gradients)


def check_loss(memory: InstanceMemory, slots: Tensor, x: Tensor, rows: list[int], classes: Tensor):
    given = x.clone().requires_grad_()
    loss = memory(given, rows)
    loss.backward()
    expected, gradient = plain_loss(
        slots.double().numpy(), x.double().numpy(), rows, classes.tolist()
    )
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(given.grad, gradient, atol=1e-5)


@every_batch
def test_loss_compares_with_the_mean_slot_of_each_class(rows):
    slots, x = unit(10, 16, seed=1), unit(len(rows), 16, seed=2)
    check_loss(memory_of(slots, CLASSES), slots, x, rows, CLASSES)


def test_loss_of_an_image_unlike_its_class_does_not_exceed_that_of_the_code():
    """The share of the own class is nearly 0, where the added 1e-6 limits loss and gradient."""
    slots, rows = unit(10, 16, seed=1), [5, 6]
    x = -slots[rows]
    memory = memory_of(slots, CLASSES)
    check_loss(memory, slots, x, rows, CLASSES)
    plain = F.cross_entropy(x @ memory.means().T / 0.05, CLASSES[rows])
    assert 13 < float(memory(x, rows)) < -math.log(EPSILON) < 20 < float(plain)


def test_loss_of_an_image_unlike_all_classes_is_that_of_the_code():
    """The 1e-6 in the denominator exceeds the sum over all classes."""
    slots = F.normalize(unit(1, 16, seed=1) + 0.1 * unit(10, 16, seed=3), dim=1)
    memory, x = memory_of(slots, CLASSES), -slots[[0, 5]]
    check_loss(memory, slots, x, [0, 5], CLASSES)
    assert float(memory(x, [0, 5])) > 2 * math.log(5)


def test_images_without_a_class_are_in_no_prototype():
    classes = torch.tensor([0, -1, 0, 1, -1, 1, -1, 0, 2, 2])
    slots, x, rows = unit(10, 16, seed=1), unit(3, 16, seed=2), [0, 3, 8]
    check_loss(memory_of(slots, classes), slots, x, rows, classes)


@every_batch
def test_update_moves_the_slots_one_sample_after_the_other(rows):
    slots = unit(10, 16, seed=1)
    memory, expected = memory_of(slots, CLASSES), slots.double().numpy()
    for step in range(3):
        x = unit(len(rows), 16, seed=2 + step)
        check_loss(memory, torch.from_numpy(expected), x, rows, CLASSES)
        memory.update(x, rows)
        for feature, row in zip(x.double().numpy(), rows, strict=True):
            moved = 0.2 * expected[row] + 0.8 * feature
            expected[row] = moved / np.linalg.norm(moved)
        np.testing.assert_allclose(memory.centroids, expected, atol=1e-6)
    others = sorted(set(range(10)) - set(rows))
    assert torch.equal(memory.centroids[others], F.normalize(slots, dim=1)[others])


def test_weights_of_a_class_sum_to_one():
    """Each image counts once in its class, however often it is in the batch: by its last sample."""
    memory = memory_of(unit(10, 16, seed=1), CLASSES)
    rows = torch.tensor([0, 5, 1, 0, 3, 7])
    weights = memory.weights(unit(6, 16, seed=2), rows)
    torch.testing.assert_close(weights, torch.tensor([0, 1, 1 / 3, 1 / 3, 1, 1 / 3]))


def test_objective_keeps_a_memory_of_images_next_to_parts(tiny_config):
    """The global memory finds the images, the parts' memory their clusters."""
    labels = torch.where(CLASSES > 2, -1, CLASSES)
    x, parts, seen = unit(10, 16, seed=1), unit(10, 3, 8, seed=2), torch.ones(10, 3)
    own = {"global_entries": "images", "global_strategy": "sequential", "momentum": 0.2}
    objective = Objective.of(tiny_config("scwm", memory=own), Embedding(x, parts, seen), labels)
    assert objective.slots.shape == (10, 16) and objective.parts.centroids.shape == (3, 3, 8)
    rows = torch.tensor([7, 3, 5, 7])
    output = Output(unit(4, 16, seed=3), parts[rows], seen[rows])
    losses = objective.losses(output, None, rows)
    alone = memory_of(x, labels)
    torch.testing.assert_close(losses[1], alone(output.global_feature, rows))
    expected = objective.parts(output.part_features, labels[rows], output.visibility)
    torch.testing.assert_close(losses[2], expected)
    assert objective.update_weights(output, rows).shape == (1 + 3, 4)
    objective.update(output, rows)
    alone.update(output.global_feature, rows)
    torch.testing.assert_close(objective.slots, alone.centroids)

"""PPLR's scores, labels and losses against its equations, one image and one part at a time."""

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scwm.core.errors import ScwmError
from scwm.method import refinement
from scwm.method.refinement import (
    Refinement,
    agreement_loss,
    agreement_scores,
    refined_labels,
    soft_triplet_loss,
)
from scwm.models import Output

CLASSES, PARTS, WIDTH, CHANNELS = 5, 3, 12, 8
BATCHES = {
    "repeated labels": [0, 0, 0, 2, 2, 4, 4, 0],
    "classes of one sample": [0, 1, 2, 3, 4],
    "one class": [3, 3, 3],
    "one sample": [1],
}
every_batch = pytest.mark.parametrize("labels", BATCHES.values(), ids=BATCHES)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(draw(*shape, seed=seed), dim=-1).float()


def shares(count: int, seed: int = 0) -> Tensor:
    """Agreements (count,PARTS), of which one is 0 and one is 1."""
    found = draw(count, PARTS, seed=seed).sigmoid()
    found[0, 0], found[-1, -1] = 0, 1
    return found


def softmax(row: np.ndarray) -> np.ndarray:
    powers = np.exp(row - row.max())
    return powers / powers.sum()


def gradient_of(loss: Tensor, inputs: Tensor) -> np.ndarray:
    (found,) = torch.autograd.grad(loss, inputs)
    return found.numpy()


# Agreement


def plain_agreement(whole: Tensor, parts: Tensor, count: int) -> np.ndarray:
    def nearest(features: Tensor, image: int) -> set[int]:
        products = [float(row @ features[image]) for row in features.double()]
        others = [j for j in range(len(features)) if j != image]
        return set(sorted(others, key=lambda j: -products[j])[:count])

    scores = np.zeros((len(whole), parts.shape[1]))
    for i in range(len(whole)):
        for k in range(parts.shape[1]):
            own, other = nearest(whole.double(), i), nearest(parts[:, k].double(), i)
            scores[i, k] = len(own & other) / len(own | other)
    return scores


@pytest.mark.parametrize("count", [1, 4, 20, 39, 60])
def test_agreement_is_the_overlap_of_neighbours(count):
    """Without the image itself; with as many neighbours as images, all agree."""
    whole = F.normalize(unit(8, WIDTH)[torch.arange(40) % 8] + unit(40, WIDTH, seed=1), dim=1)
    parts = F.normalize(whole[:, None, :CHANNELS] + 0.3 * unit(40, PARTS, CHANNELS, seed=2), dim=2)
    found = agreement_scores(whole, parts, count)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, plain_agreement(whole, parts, count), atol=1e-6)
    assert count < 39 or bool((found == 1).all())


def test_a_part_like_the_global_feature_agrees_wholly_also_among_equal_images():
    whole = unit(6, WIDTH)[torch.arange(24) % 6]
    parts = torch.stack([whole, unit(24, WIDTH, seed=1)], 1)
    found = agreement_scores(whole, parts, 5)
    assert bool((found[:, 0] == 1).all()) and float(found[:, 1].mean()) < 0.5


# Labels and losses


@every_batch
def test_refined_labels_mix_the_label_with_predictions_of_agreeing_parts(labels):
    logits, agreement = 3 * draw(len(labels), PARTS, CLASSES), shares(len(labels))
    found = refined_labels(torch.tensor(labels), logits, agreement, 0.3)
    for i, label in enumerate(labels):
        weights = softmax(agreement[i].numpy())
        expected = 0.3 * np.eye(CLASSES)[label]
        for k in range(PARTS):
            expected += 0.7 * weights[k] * softmax(logits[i, k].numpy())
        np.testing.assert_allclose(found[i], expected, atol=1e-9)


@every_batch
def test_loss_of_parts_smooths_the_label_by_what_does_not_agree(labels):
    logits = (2 * draw(len(labels), PARTS, CLASSES)).requires_grad_()
    agreement = shares(len(labels))
    found = agreement_loss(logits, torch.tensor(labels), agreement)
    losses, slopes = [], np.zeros(logits.shape)
    for i, label in enumerate(labels):
        for k in range(PARTS):
            share, p = float(agreement[i, k]), softmax(logits[i, k].detach().numpy())
            divergence = sum(math.log(1 / CLASSES / q) / CLASSES for q in p)
            losses.append(share * -math.log(p[label]) + (1 - share) * divergence)
            target = share * np.eye(CLASSES)[label] + (1 - share) / CLASSES
            slopes[i, k] = (p - target) / len(labels) / PARTS
    assert float(found.detach()) == pytest.approx(np.mean(losses), rel=1e-9)
    np.testing.assert_allclose(gradient_of(found, logits), slopes, atol=1e-9)


@every_batch
def test_triplet_loss_compares_the_farthest_of_a_class_with_the_nearest_of_another(labels):
    x = draw(len(labels), WIDTH).requires_grad_()
    points, losses = x.detach().numpy(), []
    slopes = np.zeros(x.shape)
    for i, label in enumerate(labels):
        distances = {j: math.dist(points[i], points[j]) for j in range(len(labels))}
        others = [j for j in distances if labels[j] != label]
        if not others:
            losses.append(0.0)
            continue
        far = max((j for j in distances if labels[j] == label), key=distances.__getitem__)
        near = min(others, key=distances.__getitem__)
        gap = distances[far] - distances[near]
        losses.append(math.log(1 + math.exp(gap)))
        slope = 1 / (1 + math.exp(-gap)) / len(labels)
        for j, sign in ((far, slope), (near, -slope)):
            if j != i:
                way = sign * (points[i] - points[j]) / distances[j]
                slopes[i] += way
                slopes[j] -= way
    found = soft_triplet_loss(x, torch.tensor(labels))
    assert float(found.detach()) == pytest.approx(np.mean(losses), abs=1e-6)
    np.testing.assert_allclose(gradient_of(found, x), slopes, atol=1e-6)


def test_one_image_drawn_twice_has_a_finite_gradient():
    x = draw(2, WIDTH)[[0, 0, 1]].requires_grad_()
    found = gradient_of(soft_triplet_loss(x, torch.tensor([0, 0, 1])), x)
    assert np.isfinite(found).all() and found.any()


# The classifiers of an epoch


@pytest.fixture
def made(tiny_config) -> Refinement:
    model = {"parts": PARTS, "part_channels": CHANNELS}
    return Refinement(tiny_config("pplr", model=model), 40, WIDTH).double()


def start(made: Refinement, epoch: int, classes: int = CLASSES, seed: int = 0) -> Tensor:
    agreement = shares(40, seed)
    made.start(
        epoch, unit(classes, WIDTH, seed=seed), unit(classes, PARTS, CHANNELS, seed=seed), agreement
    )
    return agreement


@pytest.mark.parametrize("epoch", [0, 4, 5, 9])
@every_batch
def test_losses_of_an_epoch(made, epoch, labels):
    """Logits of features that are not normalised; equal smoothing in the first five epochs."""
    agreement = start(made, epoch)
    rows, label = torch.arange(len(labels)) * 3, torch.tensor(labels)
    x, parts = 4 * draw(len(labels), WIDTH), 3 * draw(len(labels), PARTS, CHANNELS, seed=1)
    lengths = torch.cat([x.norm(dim=1)[:, None], parts.norm(dim=2)], 1)
    output = Output(F.normalize(x, dim=1), F.normalize(parts, dim=2), lengths=lengths)
    whole, part = made(output, label, rows)
    logits = torch.stack([parts[:, k] @ unit(CLASSES, PARTS, CHANNELS)[:, k].double().T
                          for k in range(PARTS)], 1)  # fmt: skip
    agreed, expected = agreement[rows], 0.0
    targets = refined_labels(label, logits, agreed, 0.5)
    for i in range(len(labels)):
        p = softmax((x[i] @ unit(CLASSES, WIDTH).double().T).numpy())
        expected -= float(targets[i].numpy() @ np.log(p)) / len(labels)
    expected += float(soft_triplet_loss(x, label))
    assert float(whole.detach()) == pytest.approx(expected, rel=1e-6)
    equal = 0.0
    for i, y in enumerate(labels):
        for k in range(PARTS):
            target = 0.9 * np.eye(CLASSES)[y] + 0.1 / CLASSES
            equal -= target @ np.log(softmax(logits[i, k].numpy())) / len(labels) / PARTS
    by_agreement = float(agreement_loss(logits, label, agreed))
    assert float(part.detach()) == pytest.approx(equal if epoch < 5 else by_agreement, rel=1e-6)


def test_parts_are_not_taught_by_the_global_feature(made):
    """The refined labels pass no gradient to the parts' predictions."""
    start(made, 0)
    parts = unit(4, PARTS, CHANNELS, seed=3).double().requires_grad_()
    lengths = torch.ones(4, 1 + PARTS, dtype=torch.float64)
    output = Output(unit(4, WIDTH, seed=4).double(), parts, lengths=lengths)
    whole, _ = made(output, torch.tensor([0, 1, 2, 0]), torch.arange(4))
    whole.backward()
    assert parts.grad is None and made.parts.grad is None
    assert bool(made.whole.grad[:CLASSES].any()) and not made.whole.grad[CLASSES:].any()


def test_an_epoch_starts_its_own_classes_only(made):
    start(made, 0, 9)
    start(made, 1, 4, seed=5)
    expected = torch.cat([unit(4, WIDTH, seed=5), unit(9, WIDTH)[4:]])
    torch.testing.assert_close(made.whole[:9].float(), expected)
    expected = torch.cat([unit(4, PARTS, CHANNELS, seed=5), unit(9, PARTS, CHANNELS)[4:]])
    torch.testing.assert_close(made.parts[:, :9].float(), expected.movedim(0, 1))
    assert not made.whole[9:].any() and len(made.whole) == 40


def test_more_classes_than_rows_are_an_error(tiny_config, monkeypatch):
    monkeypatch.setattr(refinement, "ROWS", 6)
    model = {"parts": PARTS, "part_channels": CHANNELS}
    made = Refinement(tiny_config("pplr", model=model), 40, WIDTH)
    start(made, 0, 6)
    with pytest.raises(ScwmError, match="7 classes: the classifiers have 6 rows"):
        start(made, 0, 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"refinement": {"neighbours": 20}, "model": {"parts": 0}}, "no parts refine the labels"),
        (
            {"refinement": {"neighbours": 20}, "memory": {"global_entries": "images"}},
            "the memory of images would never move",
        ),
    ],
)
def test_settings_that_exclude_each_other_are_an_error(tiny_config, changes, message):
    with pytest.raises(ScwmError, match=re.escape(message)):
        tiny_config("scwm", **changes)

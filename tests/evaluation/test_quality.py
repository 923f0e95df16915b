"""Scores of part masks and of pseudo labels."""

import itertools

import numpy as np
import pytest
import torch

from scwm.core.errors import ScwmError
from scwm.evaluation import label_scores, parsing_scores
from scwm.evaluation.parsing_quality import to_grid


def plain_parsing_scores(predicted: np.ndarray, truth: np.ndarray, parts: int) -> tuple:
    """Every assignment tried."""

    def iou(a: np.ndarray, b: np.ndarray) -> float:
        return (a & b).sum() / max((a | b).sum(), 1)

    true = [t for t in range(1, parts + 1) if (truth == t).any()]
    best = max(
        sum(iou(predicted == p, truth == t) for p, t in zip(order, true, strict=False))
        for order in itertools.permutations(range(1, parts + 1))
    )
    return iou(predicted > 0, truth > 0), best / len(true)


@pytest.mark.parametrize("seed", range(4))
def test_parsing_scores_try_every_match(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 5, (6, 8, 4))
    truth[truth == 2] = 0  # a part that does not occur
    noise = generator.uniform(size=truth.shape) < 0.4
    renamed = np.array([0, 3, 4, 1, 2])[truth]
    predicted = np.where(noise, generator.integers(0, 5, truth.shape), renamed)
    scores = parsing_scores(torch.from_numpy(predicted), truth.astype(np.uint8))
    expected = plain_parsing_scores(predicted, truth, 4)
    np.testing.assert_allclose((scores["foreground_iou"], scores["part_miou"]), expected)


def test_perfect_masks_under_other_names() -> None:
    truth = np.random.default_rng(0).integers(0, 4, (3, 16, 8))
    scores = parsing_scores(np.array([0, 3, 1, 2])[truth], truth.repeat(4, 1).repeat(4, 2))
    assert scores == {"foreground_iou": 1.0, "part_miou": 1.0}


def test_missing_parts_count_zero() -> None:
    truth = np.repeat([1, 2, 3, 4], 4).reshape(1, 4, 4)
    assert parsing_scores((truth == 1).astype(int), truth)["part_miou"] == 0.25
    assert parsing_scores(np.zeros_like(truth), truth) == {"foreground_iou": 0, "part_miou": 0}


@pytest.mark.parametrize(("height", "width"), [(4, 3), (5, 4), (7, 7), (13, 9)])
def test_grid_takes_majorities(height: int, width: int) -> None:
    labels = np.random.default_rng(0).integers(0, 5, (2, 13, 9))
    labels[labels == 4] = 0
    row, column = np.arange(13) * height // 13, np.arange(9) * width // 9
    found = to_grid(labels, height, width)
    for n, y, x in itertools.product(range(2), range(height), range(width)):
        cell = labels[n][np.ix_(row == y, column == x)].ravel()
        votes = np.bincount(cell, minlength=2)
        expected = 1 + votes[1:].argmax() if 2 * votes[0] < len(cell) else 0
        assert found[n, y, x] == expected


def test_parsing_mistakes_are_named() -> None:
    masks = np.ones((2, 4, 4), dtype=int)
    for predicted, truth in (
        (masks, masks[:1]),
        (masks, masks[:, :2]),
        (masks, masks * 0),
        (masks * -1, masks),
        (masks * 0.5, masks),
        (masks[0], masks),
    ):
        with pytest.raises(ScwmError):
            parsing_scores(predicted, truth)


def test_label_scores() -> None:
    truth = np.array([5, 5, 5, 8, 8, 9, 9, 9])
    assert label_scores(np.array([1, 1, -1, 0, 0, 2, 2, -1]), truth) == {
        "clusters": 3, "unclustered_share": 0.25, "ari": 1.0, "nmi": pytest.approx(1.0),
    }  # fmt: skip
    # Pairs together in both: 2 of 4 in the table; ARI after Hubert and Arabie by hand.
    scores = label_scores(torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 1, 2]))
    assert scores["ari"] == pytest.approx((1 - 2 * 3 / 6) / ((2 + 3) / 2 - 2 * 3 / 6))
    assert label_scores(np.full(8, -1), truth)["clusters"] == 0
    assert label_scores(np.full(8, -1), truth)["ari"] == 0
    with pytest.raises(ScwmError):
        label_scores(np.zeros(3), truth)

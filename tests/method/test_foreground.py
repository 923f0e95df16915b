"""What the foreground correction adds to a first decision, on made-up people."""

import numpy as np
import pytest
import torch
from test_parsing import figures

from scwm.evaluation import parsing_scores
from scwm.method.parsing import activation, keep_body, two_means
from scwm.method.parsing.foreground_corrections.log_odds import correct_foreground


def plain_log_odds(maps: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The formula of docs/method.md, §3.2, without its last step: (N,C,H,W), (N,H,W) -> (N,H,W)."""
    looks = np.moveaxis(maps, 1, 3)
    looks = looks / np.linalg.norm(looks, axis=3, keepdims=True)
    height, width = first.shape[1:]

    def odds_of(mask: np.ndarray) -> np.ndarray:
        body, rest = looks[mask], looks[~mask]
        within = (body - body.mean(0)).T @ (body - body.mean(0))
        within = (within + (rest - rest.mean(0)).T @ (rest - rest.mean(0))) / mask.size
        within += 0.1 * np.diag(within).mean() * np.eye(len(within))
        logits = 0
        for sign, means in ((1, body.mean(0)), (-1, rest.mean(0))):
            weights = np.linalg.solve(within, means)
            logits = logits + sign * (looks @ weights - means @ weights / 2)
        return logits

    middle = np.zeros_like(first)
    middle[:, height // 16 : -(height // 16), width // 4 : -(width // 4)] = True
    mask = odds_of(first) + odds_of(middle) > 0
    for number in range(5):
        share = mask.mean(0)
        share = np.clip((share + share[:, ::-1]) / 2, 0.02, 0.98)
        odds = odds_of(mask) + 0.5 * np.log(share / (1 - share))
        mask = odds > 0
        if number >= 2:
            positive = np.sort(odds[mask])
            mask = odds > 0.3 * positive[(len(positive) - 1) // 2]
    return mask


@pytest.mark.parametrize("seed", range(4))
def test_correction_is_the_formula(seed):
    """On noisy people, where every term decides some cells."""
    maps, _ = figures(12, seed)
    maps = maps + 0.7 * torch.randn(maps.shape, generator=torch.Generator().manual_seed(seed))
    first = two_means(activation(maps), torch.arange(len(maps)) // 4)
    expected = keep_body(torch.from_numpy(plain_log_odds(maps.double().numpy(), first.numpy())))
    assert torch.equal(correct_foreground(maps, first), expected)


@pytest.mark.parametrize("seed", range(3))
def test_bodies_are_whole(seed):
    """Noise makes islands and holes; none are left."""
    maps, _ = figures(seed=seed)
    maps = maps + torch.randn(maps.shape, generator=torch.Generator().manual_seed(seed))
    found = correct_foreground(maps, two_means(activation(maps), torch.arange(len(maps)) // 4))
    assert found.any() and torch.equal(keep_body(found), found)


@pytest.mark.parametrize("seed", range(3))
def test_middle_of_the_boxes_decides_where_the_first_decision_says_nothing(seed):
    maps, truth = figures(40, seed)
    chance = torch.rand(truth.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    found = correct_foreground(maps, chance)
    assert parsing_scores(found.long(), truth)["foreground_iou"] > 0.8

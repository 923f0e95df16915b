"""What the foreground correction adds to a first decision, on made-up people."""

import pytest
import torch
from test_parsing import figures

from scwm.evaluation import parsing_scores
from scwm.method.parsing import activation, keep_body, two_means
from scwm.method.parsing.foreground_corrections.log_odds import correct_foreground


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

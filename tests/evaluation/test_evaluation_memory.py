"""What evaluation needs above the features, on the host."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.harness import _in_own_process
from benchmarks.ranking import RANKING
from scwm.evaluation.evaluate import rank_features
from scwm.evaluation.sides import Side
from scwm.models.embedding import Embedding

GLOBAL, PARTS, CHANNELS = 2048, 6, 256  # ResNet-50


def side(count: int) -> Side:
    """Features of `count` images of 500 people, by six cameras."""
    draw = torch.Generator().manual_seed(count)
    whole = F.normalize(torch.randn(count, GLOBAL, generator=draw), dim=1)
    parts = F.normalize(torch.randn(count, PARTS, CHANNELS, generator=draw), dim=2)
    places = np.arange(count)
    return Side(Embedding(whole, parts, torch.ones(count, PARTS)), places % 500, places % 6)


def sides(count: int) -> dict[str, Side]:
    return {"query": side(20), "gallery": side(count)}


SCORES = replace(RANKING, inputs=sides, ours=rank_features, threads=1)


def test_scores_need_half_as_much_again_as_the_features() -> None:
    """At MSMT17's size they are 1.3 GB, and evaluation stays below 3 GB above them."""
    size = 10_000
    _, peak, _ = _in_own_process(SCORES, "ours", size)
    features = size * (GLOBAL + PARTS * CHANNELS) * 4 / 2**20
    assert features < peak <= 1.5 * features + 75

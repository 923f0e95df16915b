"""Only the hardest sample: the "hard" memory of Cluster Contrast (Dai et al., ACCV 2022)."""

import torch
from torch import Tensor

from scwm.method.weighting import Samples


def weights(samples: Samples, tau: float) -> Tensor:
    """``w_i = 1`` for the visible sample with the largest difficulty, else 0, (B,) or (B,K).

    The first of equally hard samples counts.
    """
    hidden = samples.visibility <= 0
    score = samples.difficulty.masked_fill(hidden, -torch.inf)
    place = torch.arange(len(score), device=score.device)
    place = place.view(-1, *(1,) * (score.ndim - 1)).expand_as(score)
    beaten = hidden | (score < samples.of_cluster(score, "amax"))
    first = samples.of_cluster(place.masked_fill(beaten, len(score)), "amin")
    return (first == place).to(score)

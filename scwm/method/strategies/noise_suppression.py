"""Samples that disagree with their cluster are played down (purpose after SCWM, formula ours)."""

import torch
from torch import Tensor

from scwm.method.weighting import Samples


def weights(samples: Samples, tau: float) -> Tensor:
    """``w_i = s_i * exp(-alpha_i / tau)``, (B,) or (B,K)."""
    return samples.tempered(-samples.difficulty, tau)


def start(difficulty: Tensor, visibility: Tensor, tau: float) -> Tensor:
    """Weights (N,K) of all images in the part prototypes that an epoch starts from: it plays down
    what the updates will play down. Arguments as of `Samples`."""
    return visibility * torch.exp(-difficulty / tau)

"""Low weights for samples that differ from their cluster (purpose after SCWM, formula ours)."""

from torch import Tensor

from scwm.method.weighting import Samples


def weights(samples: Samples, tau: float) -> Tensor:
    """``w_i = s_i * exp(-alpha_i / tau)``, (B,) or (B,K)."""
    return samples.tempered(-samples.difficulty, tau)


start = weights
"""Weights (N,K) of all images in the part prototypes at the start of an epoch."""

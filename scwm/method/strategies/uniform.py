"""The mean of the batch's samples (ours; Cluster Contrast updates by one after the other)."""

from torch import Tensor

from scwm.method.weighting import Samples


def weights(samples: Samples, tau: float) -> Tensor:
    """``w_i = s_i``, (B,) or (B,K)."""
    return samples.visibility

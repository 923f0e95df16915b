"""One sample after the other: the memory of Cluster Contrast (Dai et al., ACCV 2022).

SpCL (Ge et al., NeurIPS 2020) updates its hybrid memory in the same way.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from scwm.method.weighting import Samples


def weights(samples: Samples, tau: float) -> Tensor:
    """``w_i = s_i`` if no visible sample of the cluster follows, else 0, (B,) or (B,K).

    The last sample has most of the influence: at a momentum of 0.1 about 90 %. The update itself is
    `update`; these weights only describe it in the history.
    """
    seen = samples.visibility > 0
    place = torch.arange(len(seen), device=seen.device)
    place = place.view(-1, *(1,) * (seen.ndim - 1)).expand_as(seen)
    last = samples.of_cluster(place.masked_fill(~seen, -1), "amax")
    return samples.visibility * (seen & (place == last))


def update(centroids: Tensor, features: Tensor, samples: Samples, momentum: float) -> None:
    """Move the prototype of each visible sample, in the order of the batch and in place.

    The rule is ``m_c <- normalise(momentum * m_c + (1 - momentum) * f_i)``.

    Args:
        centroids: (M,D) or (M,K,D), of length 1.
        features: (B,D) or (B,K,D), of length 1.
        samples: the samples of the batch.
        momentum: weight of the old prototype.
    """
    seen = (samples.visibility > 0)[..., None]
    rows = zip(samples.labels.split(1), features.split(1), seen.split(1), strict=True)
    for label, feature, visible in rows:
        old = centroids.index_select(0, label)
        new = F.normalize(momentum * old + (1 - momentum) * feature, dim=-1)
        centroids.index_copy_(0, label, torch.where(visible, new, old))

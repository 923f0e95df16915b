"""Whether the parts of a model are used, and whether they say different things."""

import torch.nn.functional as F
from torch import Tensor


def effective_parts(visibility: Tensor) -> float:
    """Effective number of part masks: exp of the entropy of their shares of the foreground.

    K where all parts win equally many cells, 1 where one swallows the body, 0 without any cell.

    Args:
        visibility: (N,K) share of each image's cells that each part wins, or any sums of it.
    """
    mass = visibility.double().sum(0)
    if mass.sum() <= 0:
        return 0.0
    share = mass / mass.sum()
    return float((-(share * share.clamp(min=1e-300).log()).sum()).exp())


def part_similarity(features: Tensor, visibility: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines between the visible part features of each image, summed over all pairs.

    Args:
        features: (N,K,C).
        visibility: (N,K); a part counts where it is above 0.

    Returns:
        The sum and the number of pairs, scalar tensors that stay on the device.
    """
    seen = (visibility > 0).to(features)
    count = seen.sum(1)
    together = (F.normalize(features, dim=2) * seen[:, :, None]).sum(1)
    # |sum of unit vectors|² holds each vector with itself once and each pair twice.
    return ((together.pow(2).sum(1) - count) / 2).sum(), (count * (count - 1) / 2).sum()

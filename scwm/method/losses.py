"""Losses on the part masks and part features. The contrastive loss is in method/memory.py."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Array = Tensor | np.ndarray


def parsing_loss(logits: Array, labels: Array) -> Tensor:
    """Compute the pixel-wise cross-entropy of the part classifier (ISP, Zhu et al., ECCV 2020).

    Args:
        logits: (B,K+1,h,w).
        labels: (B,h,w) integers 0..K from the cascaded clustering.

    Returns:
        The mean over the pixels, a scalar >= 0.
    """
    scores = F.log_softmax(torch.as_tensor(logits), 1)
    # Flattened, because the 2-D loss has no deterministic kernel on a GPU.
    classes = torch.as_tensor(labels).long().flatten()
    return F.nll_loss(scores.movedim(1, -1).flatten(0, 2), classes)


def diversity_loss(masks: Array) -> Tensor:
    """Penalise overlap of an image's part masks and unequal use of the masks (formula ours).

    The loss is ``mean_{i, k<l} cos(P_ik, P_il) + (log K - H(q))``, where ``q_k`` is part k's share
    of the mass of all parts in the batch and H its entropy in nats. It is 0 if the masks are
    disjoint and equally used, and grows if one part covers the body.

    Args:
        masks: (B,K,h,w), the parts without background, non-negative.
    """
    masks = torch.as_tensor(masks)
    parts = masks.shape[1]
    occupancy = masks.mean((0, 2, 3))
    share = occupancy / occupancy.sum().clamp(min=1e-12)
    entropy = -(share * share.clamp(min=1e-12).log()).sum()
    overlap = _pairwise_cosine(masks.flatten(2))
    return overlap.sum() / max(overlap.numel(), 1) + math.log(parts) - entropy


def separation_loss(parts: Array, visibility: Array, margin: float = 0.0) -> Tensor:
    """Penalise similar visible part features of an image (formula ours).

    The loss is the mean of ``max(0, cos(f_ik, f_il) - margin)`` over images i and pairs k<l of
    parts that are both visible, and 0 without such a pair.

    Args:
        parts: (B,K,C).
        visibility: (B,K); a part is visible if its value is above 0.
        margin: largest cosine without a penalty.
    """
    parts, visibility = torch.as_tensor(parts), torch.as_tensor(visibility)
    above = F.relu(_pairwise_cosine(parts) - margin)
    first, second = _pairs(parts.shape[1], parts.device)
    both = ((visibility[:, first] > 0) & (visibility[:, second] > 0)).to(above)
    return (above * both).sum() / both.sum().clamp(min=1)


def _pairwise_cosine(vectors: Tensor) -> Tensor:
    """Compute the cosines of all pairs: (B,K,D) -> (B, K·(K-1)/2)."""
    unit = F.normalize(vectors, dim=2)
    first, second = _pairs(vectors.shape[1], vectors.device)
    return (unit @ unit.transpose(1, 2))[:, first, second]


def _pairs(parts: int, device: torch.device) -> tuple[Tensor, Tensor]:
    first, second = torch.triu_indices(parts, parts, 1, device=device)
    return first, second

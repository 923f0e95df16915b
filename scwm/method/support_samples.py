"""Implicit sample extension (ISE; Zhang et al., CVPR 2022): support samples between clusters.

A support sample lies between a sample and the prototype of the nearest other cluster. It has the
sample's label in the memory's loss and update. docs/method.md, §4 and §5.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-6  # of the released code, clustercontrast/losses/lp_loss.py
TEMPERATURE = 0.6  # of the label-preserving loss, the same for all data sets in the released code


def interpolation_degree(degree: float, progress: float) -> float:
    """Compute the share of the way between two prototypes at a moment of the training.

    It is ``λ0 / 4 · ln((e - 1) · progress + 1)`` (progressive linear interpolation), as in
    `ClusterContrastTrainerSupport` of the released code.

    Args:
        degree: λ0.
        progress: share of the training's steps that are done, 0 to 1.
    """
    return degree / 4 * math.log((math.e - 1) * progress + 1)


def support_samples(features: Tensor, labels: Tensor, prototypes: Tensor, share: float) -> Tensor:
    """Move samples towards the prototypes of their nearest other clusters.

    The support sample of ``f_i`` is ``normalise(f_i + share · (m_n - m_c))``, with the prototype
    ``m_c`` of the sample's cluster and the most similar one ``m_n`` of the others. A gradient
    passes through ``f_i``.

    Args:
        features: (B,D), L2-normalised.
        labels: (B,) clusters.
        prototypes: (M,D) with M of at least 2.
        share: of the way from m_c to m_n.

    Returns:
        (B,D), L2-normalised.
    """
    similar = features.detach() @ prototypes.T
    nearest = similar.scatter(1, labels[:, None], -torch.inf).argmax(1)
    way = prototypes.index_select(0, nearest) - prototypes.index_select(0, labels)
    return F.normalize(features + share * way, dim=1)


def label_preserving_loss(
    features: Tensor, supports: Tensor, labels: Tensor, clusters: int
) -> Tensor:
    """Compute the loss that keeps support samples near their own cluster.

    It is the mean over the samples of ``-log(p / (p + Σ_c n_c + EPSILON) + EPSILON)``: p is
    ``exp(<f_i, s_j> / TEMPERATURE)`` of the least similar support sample of the same cluster, and
    n_c that of the most similar one of another cluster c in the batch.

    Args:
        features: (B,D), L2-normalised.
        supports: (B,D) their support samples.
        labels: (B,) clusters.
        clusters: M, the number of clusters.
    """
    powers = torch.exp(features @ supports.T / TEMPERATURE)
    own = powers.masked_fill(labels[:, None] != labels, torch.inf).amin(1)
    columns = labels.expand(len(labels), -1)
    most = powers.new_zeros(len(labels), clusters).scatter_reduce(1, columns, powers, "amax")
    others = most.scatter(1, labels[:, None], 0.0).sum(1)
    return -torch.log(own / (own + others + EPSILON) + EPSILON).mean()

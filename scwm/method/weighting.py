"""The input of a memory strategy: samples of a batch (formulas ours, docs/method.md, §4)."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """The samples of a batch, each with its cluster, for one memory or for K parts at once.

    Attributes:
        difficulty: (B,) or (B,K), ``alpha_i = 1 - <f_i, m_c>``, 0 to 2.
        visibility: ``s_i`` >= 0, of the same shape; a sample with 0 must get the weight 0.
        labels: (B,) integers in [0, M), the samples' clusters.
        clusters: M, the number of clusters.
    """

    difficulty: Tensor
    visibility: Tensor
    labels: Tensor
    clusters: int

    def of_cluster(self, values: Tensor, how: str) -> Tensor:
        """Reduce `values` (of `difficulty`'s shape) over the samples of each sample's cluster.

        Args:
            how: a reduction of torch's `scatter_reduce`: sum, mean, amax, amin or prod.
        """
        index = self.labels.view(-1, *(1,) * (values.ndim - 1)).expand_as(values)
        empty = values.new_zeros(self.clusters, *values.shape[1:])
        return empty.scatter_reduce(0, index, values, how, include_self=False)[self.labels]

    def tempered(self, score: Tensor, tau: float) -> Tensor:
        """Compute ``s_i * exp(score_i / tau)`` up to a factor of each cluster and part.

        The exponentials are divided by the largest one of the cluster's visible samples.

        Args:
            score: of `difficulty`'s shape, in its units, -2 to 2.
            tau: temperature above 0.
        """
        seen = score.masked_fill(self.visibility <= 0, -torch.inf)
        highest = self.of_cluster(seen, "amax")
        return self.visibility * torch.exp((seen - highest.clamp(min=-2)) / tau)

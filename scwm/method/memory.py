"""The weighted memory: one prototype for each pseudo identity, updated by weighted samples.

Prototypes and loss follow Cluster Contrast (Dai et al., ACCV 2022). The weights have the purposes
of SCWM (Hong et al., 2024) and formulas of ours.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scwm.core.errors import ScwmError
from scwm.core.plugins import STRATEGIES
from scwm.method.weighting import Samples

Array = Tensor | np.ndarray


class WeightedMemory(nn.Module):
    """M prototypes of D dimensions, a contrastive loss against them, and their weighted update.

    A memory of K parts holds K prototypes of each cluster, (M,K,D). It consists of K memories that
    share their labels and are updated in one operation. Features are then (B,K,D), visibility and
    weights (B,K).

    The loss follows Cluster Contrast (Dai et al., ACCV 2022): cross-entropy over similarities to
    all prototypes at a temperature. The update (purpose after SCWM, formula ours, docs/method.md)
    moves the prototype of cluster c by all samples of c in the batch at once::

        m_c <- normalise(momentum * m_c + (1 - momentum) * sum_i w_i f_i),   sum_i w_i = 1

    The strategy, a module of scwm/method/strategies, computes the weights ``w_i`` from the
    difficulty ``alpha_i = 1 - <f_i, m_c>`` and the visibility ``s_i``. A strategy that defines
    `update` moves the prototypes by itself.

    A cluster without visible samples does not move.

    Args:
        centroids: (M,D) or (M,K,D), normalised here.
        momentum: weight of the old prototype, 0 to 1.
        temperature: temperature of the loss.
        strategy: name of a module of scwm/method/strategies.
        tau: temperature of the weights, in units of the difficulty; the default is that of
            `memory.global_tau`.

    Raises:
        ScwmError: the strategy is unknown, or the centroids have another shape.
    """

    centroids: Tensor

    def __init__(
        self,
        centroids: Array,
        momentum: float = 0.1,
        temperature: float = 0.05,
        strategy: str = "hard_mining",
        tau: float = 0.02,
    ) -> None:
        super().__init__()
        centroids = torch.as_tensor(centroids)
        if centroids.ndim not in (2, 3) or not len(centroids):
            shape = tuple(centroids.shape)
            raise ScwmError(f"Centroids have shape {shape}, expected (M,D) or (M,K,D).")
        self.register_buffer("centroids", F.normalize(centroids.detach().float(), dim=-1))
        self.momentum, self.temperature = momentum, temperature
        self.strategy, self.tau = strategy, tau
        self.rule = STRATEGIES.load(strategy)

    def forward(self, features: Array, labels: Array, visibility: Array | None = None) -> Tensor:
        """Compute the contrastive loss of a batch.

        Args:
            features: (B,D) or (B,K,D), L2-normalised.
            labels: (B,) integers in [0, M).
            visibility: (B,) or (B,K), non-negative weights of the samples; None: equal weights.

        Returns:
            The weighted mean cross-entropy, 0 if nothing is visible; the mean over K parts. A
            scalar.
        """
        features, labels = self._prepared(features, labels)
        logits = features.movedim(0, -2) @ self.centroids.movedim(0, -1) / self.temperature
        targets = labels.expand(logits.shape[:-1])  # (B,) or (K,B)
        if visibility is None:
            return F.cross_entropy(logits.flatten(0, -2), targets.flatten())
        losses = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none")
        seen = torch.as_tensor(visibility).to(losses).movedim(0, -1)
        terms = (losses.view(seen.shape) * seen).sum(-1) / seen.sum(-1).clamp(min=1e-6)
        return terms.mean()

    @torch.no_grad()
    def weights(self, features: Array, labels: Array, visibility: Array | None = None) -> Tensor:
        """Compute the weight of each sample, (B,) or (B,K).

        The weights of a cluster's samples sum to 1, or to 0 if none is visible. The
        arguments are as in `forward`.
        """
        samples = self.samples(*self._prepared(features, labels), visibility)
        weight: Tensor = self.rule.weights(samples, self.tau)
        total = samples.of_cluster(weight, "sum")
        return torch.where(total > 0, weight / total.clamp(min=1e-30), torch.zeros_like(weight))

    @torch.no_grad()
    def update(self, features: Array, labels: Array, visibility: Array | None = None) -> None:
        """Update the prototypes of the clusters in the batch, with the arguments of `weights`."""
        features, labels = self._prepared(features, labels)
        if hasattr(self.rule, "update"):
            samples = self.samples(features, labels, visibility)
            self.rule.update(self.centroids, features, samples, self.momentum)
            return
        weight = self.weights(features, labels, visibility)
        # Only the batch's clusters change. Their number would need a synchronisation with a GPU:
        # there each sample represents its cluster, and equal rows are written more than once.
        clusters = labels if labels.is_cuda else labels.unique()
        pull = (labels == clusters[:, None]) * weight.movedim(0, -1)[..., None, :]  # (·,U,B)
        drawn = (pull @ features.movedim(0, -2)).movedim(-2, 0)
        moved = (pull.sum(-1) > 0).movedim(-1, 0)
        stay = torch.where(moved, self.momentum, 1.0)[..., None]
        new = self.prototypes(clusters).mul_(stay).add_(drawn, alpha=1 - self.momentum)
        length = torch.where(moved, torch.linalg.vector_norm(new, dim=-1), 1.0)
        self.centroids[clusters] = new.div_(length.clamp(min=1e-12)[..., None])

    def difficulty(self, features: Tensor, labels: Tensor) -> Tensor:
        """Compute ``alpha_i = 1 - <f_i, m_c>`` of samples (B,D) or (B,K,D): (B,) or (B,K)."""
        alpha: Tensor = 1 - torch.linalg.vecdot(features, self.prototypes(labels))
        return alpha

    def prototypes(self, labels: Tensor) -> Tensor:
        """Return the prototypes of each sample's cluster, (B,D) or (B,K,D)."""
        return self.centroids.index_select(0, labels)  # indexing by a tensor takes far longer

    def samples(self, features: Tensor, labels: Tensor, visibility: Array | None) -> Samples:
        """Describe samples to a strategy; the arguments are as in `forward`."""
        difficulty = self.difficulty(features, labels)
        visible = torch.ones_like(difficulty)
        if visibility is not None:
            visible = torch.as_tensor(visibility).to(difficulty)
        return Samples(difficulty, visible, labels, len(self.centroids))

    def _prepared(self, features: Array, labels: Array) -> tuple[Tensor, Tensor]:
        """Convert both to tensors of the memory's type and device."""
        index = torch.as_tensor(labels).long().to(self.centroids.device)
        return torch.as_tensor(features).to(self.centroids), index


def cluster_means(features: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Compute the unit mean feature of each cluster.

    Args:
        features: (N,D) or (N,K,D).
        labels: (N,) integers, -1 = unclustered and left out.
        weights: (N,) or (N,K), non-negative; a cluster with only zero weights gets its plain mean.

    Returns:
        (M,D) or (M,K,D) with M = largest label + 1.

    Raises:
        ScwmError: no sample has a label.
    """
    kept = labels >= 0
    if not kept.any():
        raise ScwmError(
            f"None of {len(labels)} samples has a cluster.", "labels", "give labels of 0 or more"
        )
    features, labels = features[kept].float(), labels[kept]
    weight = torch.ones_like(features[..., 0]) if weights is None else weights[kept].float()
    count = int(labels.max()) + 1
    mass = weight.new_zeros(count, *weight.shape[1:]).index_add_(0, labels, weight)
    weight = torch.where(mass[labels] > 0, weight, torch.ones_like(weight))
    means = features.new_zeros(count, *features.shape[1:])
    return F.normalize(means.index_add_(0, labels, weight[..., None] * features), dim=-1)

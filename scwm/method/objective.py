"""The objective of a training step: the memories of one epoch and the weighted sum of all losses.

The terms are SCWM's (Hong et al., 2024), the weights are ours; docs/method.md, §5 and §9.
"""

from typing import Any

import torch
from torch import Tensor, nn

from scwm.core.plugins import STRATEGIES
from scwm.core.settings import Config
from scwm.method.instance_memory import InstanceMemory
from scwm.method.losses import diversity_loss, parsing_loss, separation_loss
from scwm.method.memory import WeightedMemory, cluster_means
from scwm.method.refinement import Refinement
from scwm.method.support_samples import (
    interpolation_degree,
    label_preserving_loss,
    support_samples,
)
from scwm.models import Output
from scwm.models.embedding import Embedding

LOSSES = ("loss", "loss_global", "loss_part", "loss_parsing", "loss_diversity", "loss_separation")


class Objective(nn.Module):
    """``L = L_global + λ_p·L_part + λ_parse·L_parsing + λ_div·L_diversity + λ_sep·L_separation``.

    Args:
        config: of the run.
        labels: (N,) classes of the training images, -1 = left out.
        whole: (M,D) prototypes of the global memory, or its (N,D) slots of the images.
        parts: (M,K,C) prototypes of the parts' memory, or None.
        refinement: classifiers that the losses compare features with instead of the memories, which
            then stay at the start of the epoch.
        number: of the epoch, from 0.
    """

    def __init__(
        self,
        config: Config,
        labels: Tensor,
        whole: Tensor,
        parts: Tensor | None = None,
        refinement: Refinement | None = None,
        number: int = 0,
    ) -> None:
        super().__init__()
        self.weights, self.labels, self.refinement = config.losses, labels, refinement
        self.support, training = config.support, config.training
        self.step, self.steps = number * training.iterations, training.epochs * training.iterations
        settings = self.settings = config.memory
        shared = settings.momentum, settings.temperature
        own = *shared, settings.global_strategy, settings.global_tau
        self.by_image = settings.global_entries == "images"
        self.whole = (
            InstanceMemory(whole, labels, *own) if self.by_image else WeightedMemory(whole, *own)
        )
        part = *shared, settings.part_strategy, settings.part_tau
        self.parts = None if parts is None else WeightedMemory(parts, *part)

    @classmethod
    def of(cls, config: Config, embedding: Embedding, labels: Tensor) -> "Objective":
        """At the start of an epoch; arguments as for `start_prototypes`."""
        return cls(config, labels, *start_prototypes(config, embedding, labels))

    @property
    def slots(self) -> Tensor | None:
        """The features (N,D) that a global memory of images holds; None of another memory."""
        return self.whole.centroids if self.by_image else None

    def losses(self, output: Output, part_labels: Tensor | None, rows: Tensor) -> Tensor:
        """The sum and its five terms without their weights, (6,) in the order of LOSSES.

        Args:
            output: the network's, of B images.
            part_labels: (B,h,w), None without parsing.
            rows: (B,) of the training images.
        """
        whole, part = self._of_features(output, rows)
        parsing = diversity = separation = torch.zeros_like(whole)
        features, seen, masks = output.part_features, output.visibility, output.masks
        if self.parts and features is not None and seen is not None:
            separation = separation_loss(features, seen, self.weights.separation_margin)
            if output.logits is not None and masks is not None and part_labels is not None:
                parsing = parsing_loss(output.logits, part_labels)
                diversity = diversity_loss(masks[:, 1:])
        total = (
            whole
            + self.weights.part * part
            + self.weights.parsing * parsing
            + self.weights.diversity * diversity
            + self.weights.separation * separation
        )
        return torch.stack([total, whole, part, parsing, diversity, separation])

    def _of_features(self, output: Output, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The losses of the global and of the part features."""
        labels = self.labels[rows]
        if self.refinement is not None:
            return self.refinement(output, labels, rows)  # type: ignore[no-any-return]
        whole = self._loss_global(output.global_feature, rows if self.by_image else labels)
        part = torch.zeros_like(whole)
        features, seen = output.part_features, output.visibility
        if self.parts and features is not None and seen is not None:
            part = self.parts(features, labels, seen)
        return whole, part

    def _loss_global(self, features: Tensor, entries: Tensor) -> Tensor:
        """The global memory's loss of features (B,D) and their entries (B,): classes, or images."""
        samples, both = self._extended(features, entries)
        loss: Tensor = self.whole(samples, both)
        if not self.support.degree:
            return loss
        supports, count = samples[len(features) :], len(self.whole.centroids)
        preserved = label_preserving_loss(features, supports, entries, count)
        return loss + self.support.preserving * preserved

    def _extended(self, features: Tensor, entries: Tensor) -> tuple[Tensor, Tensor]:
        """The global memory's samples and their entries, those of support samples last."""
        if not self.support.degree:
            return features, entries
        share = interpolation_degree(self.support.degree, self.step / self.steps)
        supports = support_samples(features, entries, self.whole.centroids, share)
        return torch.cat([features, supports]), entries.repeat(2)

    def update_weights(self, output: Output, rows: Tensor) -> Tensor:
        """The weights (1+K,B) by which `update` would move the global memory and each part's.

        The weight of a support sample is its image's.
        """
        weights = [memory.weights(*sample) for memory, *sample in self._moves(output, rows)]
        own = [torch.stack(w.split(len(rows))).sum(0).view(len(rows), -1).T for w in weights]
        return torch.cat(own)

    def update(self, output: Output, rows: Tensor) -> None:
        """Move all memories by the batch of the training images `rows` (B,).

        With a refinement they stay: the optimiser moves its classifiers.
        """
        if self.refinement is not None:
            return
        for memory, *sample in self._moves(output, rows):
            memory.update(*sample)
        self.step += 1

    def _moves(self, output: Output, rows: Tensor) -> list[tuple[Any, ...]]:
        """Each memory with its features, labels and visibility of the batch."""
        labels, whole = self.labels[rows], output.global_feature.detach()
        moves: list[tuple[Any, ...]] = [
            (self.whole, *self._extended(whole, rows if self.by_image else labels))
        ]
        if self.parts and output.part_features is not None and output.visibility is not None:
            moves.append((self.parts, output.part_features.detach(), labels, output.visibility))
        return moves


def start_prototypes(
    config: Config, embedding: Embedding, labels: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Compute the prototypes of the global memory and of the parts' memory for an epoch.

    They are the mean features of the clusters. A global memory of images starts from their
    features.

    Args:
        config: config of the run.
        embedding: features of the N training images.
        labels: (N,) pseudo identities, -1 = unclustered.

    Returns:
        (M,D) or (N,D), and (M,K,C) or None.
    """
    whole = embedding.global_feature
    if config.memory.global_entries == "clusters":
        whole = cluster_means(whole, labels)
    features, seen = embedding.part_features, embedding.visibility
    if features is None or seen is None:
        return whole, None
    parts = cluster_means(features, labels, seen)
    strategy = STRATEGIES.load(config.memory.part_strategy)
    if hasattr(strategy, "start"):
        kept = labels >= 0
        samples = WeightedMemory(parts).samples(features[kept], labels[kept], seen[kept])
        weights = torch.zeros_like(seen)
        weights[kept] = strategy.start(samples, config.memory.part_tau)
        parts = cluster_means(features, labels, weights)
    return whole, parts

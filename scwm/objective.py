"""What a training step minimises: the memories of one epoch and the weighted sum of all losses."""

from typing import Any

import torch
from torch import Tensor

from scwm.config import Config
from scwm.inference import Embedding
from scwm.losses import diversity_loss, parsing_loss, separation_loss
from scwm.memory import WeightedMemory, cluster_means, mean_difficulty
from scwm.models import Output

LOSSES = ("loss", "loss_global", "loss_part", "loss_parsing", "loss_diversity", "loss_separation")


class Objective:
    """``L = L_global + λ_p·L_part + λ_parse·L_parsing + λ_div·L_diversity + λ_sep·L_separation``.

    The global memory and one for each part start from the clusters' mean features.

    Args:
        config: of the run; its sections `memory` and `losses` are read.
        embedding: features of the N training images.
        labels: (N,) pseudo identities, -1 = unclustered.
    """

    def __init__(self, config: Config, embedding: Embedding, labels: Tensor) -> None:
        self.weights, self.settings = config["losses"], config["memory"]
        self.whole = self._memory("global", cluster_means(embedding.global_feature, labels))
        self.parts: list[WeightedMemory] = []
        features, seen = embedding.part_features, embedding.visibility
        if features is not None and seen is not None:
            self.parts = self._part_memories(features, labels, seen)
            if self.settings["part_strategy"] == "noise_suppression":
                # The start plays down what the updates will play down.
                kept = labels >= 0
                difficulty = torch.zeros_like(seen[:, 0])
                difficulty[kept] = self.part_difficulty(features[kept], seen[kept], labels[kept])
                weights = seen * torch.exp(-difficulty / self.settings["part_tau"])[:, None]
                self.parts = self._part_memories(features, labels, weights)

    def _part_memories(
        self, features: Tensor, labels: Tensor, weights: Tensor
    ) -> list[WeightedMemory]:
        return [
            self._memory("part", cluster_means(features[:, k], labels, weights[:, k]))
            for k in range(features.shape[1])
        ]

    def part_difficulty(self, features: Tensor, seen: Tensor, labels: Tensor) -> Tensor:
        """Difficulty (B,) of samples (B,K,C) for the part memories, over all visible parts."""
        prototypes = torch.stack([memory.centroids[labels] for memory in self.parts], 1)
        return mean_difficulty(features, seen, prototypes)

    def _memory(self, kind: str, means: Tensor) -> WeightedMemory:
        return WeightedMemory(
            means,
            self.settings["momentum"],
            self.settings["temperature"],
            self.settings[f"{kind}_strategy"],
            self.settings[f"{kind}_tau"],
        )

    def losses(self, output: Output, cells: Tensor | None, labels: Tensor) -> Tensor:
        """The sum and its five terms without their weights, (6,) in the order of LOSSES.

        Args:
            output: the network's, of B images.
            cells: (B,h,w) part labels, None without parsing.
            labels: (B,) pseudo identities.
        """
        whole = self.whole(output.global_feature, labels)
        part = parsing = diversity = separation = torch.zeros_like(whole)
        features, seen, masks = output.part_features, output.visibility, output.masks
        if features is not None and seen is not None and masks is not None:
            terms = [m(features[:, k], labels, seen[:, k]) for k, m in enumerate(self.parts)]
            part = torch.stack(terms).mean()
            separation = separation_loss(features, seen, self.weights["separation_margin"])
            if output.logits is not None and cells is not None:
                parsing = parsing_loss(output.logits, cells)
                diversity = diversity_loss(masks[:, 1:])
        total = (
            whole
            + self.weights["part"] * part
            + self.weights["parsing"] * parsing
            + self.weights["diversity"] * diversity
            + self.weights["separation"] * separation
        )
        return torch.stack([total, whole, part, parsing, diversity, separation])

    def update_weights(self, output: Output, labels: Tensor) -> Tensor:
        """The weights (1+K,B) by which `update` would move the global memory and each part's."""
        moves = self._moves(output, labels)
        return torch.stack([memory.weights(*sample) for memory, *sample in moves])

    def update(self, output: Output, labels: Tensor) -> None:
        """Move all memories by the batch."""
        for memory, *sample in self._moves(output, labels):
            memory.update(*sample)

    def _moves(self, output: Output, labels: Tensor) -> list[tuple[Any, ...]]:
        """Each memory with its features, labels, visibility and difficulty of the batch."""
        moves: list[tuple[Any, ...]] = [(self.whole, output.global_feature.detach(), labels)]
        if output.part_features is not None and output.visibility is not None:
            features, seen = output.part_features.detach(), output.visibility
            difficulty = self.part_difficulty(features, seen, labels)
            moves += [
                (memory, features[:, k], labels, seen[:, k], difficulty)
                for k, memory in enumerate(self.parts)
            ]
        return moves

"""What a training step minimises: the memories of one epoch and the weighted sum of all losses."""

import torch
from torch import Tensor

from scwm.config import Config
from scwm.inference import Embedding
from scwm.losses import diversity_loss, parsing_loss, separation_loss
from scwm.memory import WeightedMemory, cluster_means
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
            for k in range(features.shape[1]):
                means = cluster_means(features[:, k], labels, seen[:, k])
                self.parts.append(self._memory("part", means))

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
        weights = [self.whole.weights(output.global_feature.detach(), labels)]
        if output.part_features is not None and output.visibility is not None:
            for k, memory in enumerate(self.parts):
                features, seen = output.part_features[:, k].detach(), output.visibility[:, k]
                weights.append(memory.weights(features, labels, seen))
        return torch.stack(weights)

    def update(self, output: Output, labels: Tensor) -> None:
        """Move all memories by the batch."""
        self.whole.update(output.global_feature.detach(), labels)
        if output.part_features is not None and output.visibility is not None:
            for k, memory in enumerate(self.parts):
                memory.update(output.part_features[:, k].detach(), labels, output.visibility[:, k])

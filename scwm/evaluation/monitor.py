"""Records of the memories and the parts during an epoch's steps, compared with the truth."""

import numpy as np
import torch
from torch import Tensor

from scwm.data.labels import labelled
from scwm.data.store import StoreSplit
from scwm.evaluation.memory_quality import weight_scores, wrong_members
from scwm.evaluation.parsing_quality import effective_parts, mostly_hidden, part_similarity
from scwm.method.memory import cluster_means
from scwm.method.objective import Objective
from scwm.models import Output
from scwm.models.embedding import Embedding


class StepMonitor:
    """Records of one epoch's steps, only for the history: nothing here reaches the training.

    They stay on the device until `read`, so that no step waits for them.

    Args:
        objective: of the epoch, its memories asked for their weights before each update. With a
            refinement the memories do not move, and no weights are recorded.
        means: mean feature of each true identity, (T,D) of the whole body, then of each part.
        labels: (N,) classes of the training images, -1 = left out.
        split: the training images, perhaps with true identities and masks. Without identities
            neither samples nor weights are recorded.
    """

    def __init__(
        self, objective: Objective, means: list[Tensor], labels: Tensor, split: StoreSplit
    ) -> None:
        self.objective, self.means, self.labels = objective, means, labels
        truth = np.unique(split.ids, return_inverse=True)[1]
        self.labelled = labelled(split.ids)
        self.wrong = wrong_members(labels.cpu().numpy(), truth)
        self.hidden = None if split.masks is None else mostly_hidden(split.masks)
        self.truth = torch.as_tensor(truth).to(labels.device)
        self.rows: list[Tensor] = []
        self.weights: list[tuple[Tensor, Tensor]] = []
        self.parts: list[tuple[Tensor, ...]] = []

    @classmethod
    def of(
        cls, objective: Objective, embedding: Embedding, labels: Tensor, split: StoreSplit
    ) -> "StepMonitor":
        """At the start of an epoch, whose training images have this embedding."""
        return cls(objective, identity_means(embedding, split.ids), labels, split)

    @torch.no_grad()
    def add(self, output: Output, rows: Tensor) -> None:
        """Record a step before its memories move; `rows` (B,) index the training images."""
        features = [output.global_feature]
        if output.part_features is not None and output.visibility is not None:
            features += output.part_features.unbind(1)
            similar = part_similarity(output.part_features, output.visibility)
            self.parts.append((output.visibility.sum(0), *similar))
        if not self.labelled:
            return
        self.rows.append(rows)
        if self.objective.refinement is not None:
            return
        truth = self.truth[rows]
        cosines = [(f * mean[truth]).sum(1) for f, mean in zip(features, self.means, strict=True)]
        weights = self.objective.update_weights(output, rows)
        self.weights.append((weights, 1 - torch.stack(cosines)))

    def read(self) -> dict[str, float | None]:
        """Compute the epoch's measures by their names in the history.

        A measure that does not apply is None or absent.
        """
        measures: dict[str, float | None] = {}
        if self.rows:
            rows = torch.stack(self.rows).cpu().numpy()
            measures["wrong_share"] = float(self.wrong[rows].mean())
            if self.weights:
                measures |= self._weights(rows)
        if self.parts:
            seen, similar, pairs = (torch.stack(values) for values in zip(*self.parts, strict=True))
            measures["effective_parts"] = effective_parts(seen)
            measures["part_similarity"] = float(similar.sum() / pairs.sum().clamp(min=1))
        return measures

    def _weights(self, rows: np.ndarray) -> dict[str, float | None]:
        """Score the memories' weights in all steps, of the training images `rows` (steps,batch)."""
        weights, difficulty = (  # (memories, steps, batch)
            torch.stack(values, 1).double().cpu().numpy()
            for values in zip(*self.weights, strict=True)
        )
        clusters = self.labels.cpu().numpy()[rows]
        memory, step, _ = np.ogrid[: len(weights), : len(rows), :1]
        groups = (memory * len(rows) + step) * (clusters.max() + 1) + clusters
        hidden = None if self.hidden is None else self.hidden[rows]
        measures: dict[str, float | None] = {}
        for kind, own in (("global", slice(0, 1)), ("part", slice(1, None))):
            if len(weights[own]):
                scores = weight_scores(
                    weights[own], groups[own], self.wrong[rows], difficulty[own], hidden
                )
                measures |= {f"{kind}_{name}": value for name, value in scores.items()}
        return measures


def identity_means(embedding: Embedding, ids: np.ndarray) -> list[Tensor]:
    """Mean feature of each of T identities (N,): (T,D) of the whole body, then of each part."""
    features, seen = embedding.part_features, embedding.visibility
    whole = embedding.global_feature
    truth = torch.as_tensor(np.unique(ids, return_inverse=True)[1]).to(whole.device)
    means = [cluster_means(whole, truth)]
    if features is not None and seen is not None:
        means += cluster_means(features, truth, seen).unbind(1)
    return means

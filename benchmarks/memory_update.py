"""The memories' update after a training step, against one sample after the other.

The reference is the definition of `scwm.memory.WeightedMemory` in loops: each sample's difficulty,
its weight, its share of the sum that moves its cluster's prototype; for the global memory and for
those of the parts in turn.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Stage
from scwm.core.allocator import keep_freed_memory
from scwm.core.config import resolve_config
from scwm.method.objective import Objective
from scwm.models import Output
from scwm.models.embedding import Embedding

CLUSTERS, WIDTH, PARTS, CHANNELS = 751, 2048, 6, 256  # Market-1501, ResNet-50, the defaults
INSTANCES, STEPS = 16, 100

Data = tuple[Objective, list[tuple[Output, Tensor]]]


def inputs(batch: int) -> Data:
    """Memories of Market-1501's identities and the features of STEPS batches."""
    keep_freed_memory()
    generator = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> Tensor:
        return F.normalize(torch.randn(*shape, generator=generator), dim=-1)

    def seen(count: int) -> Tensor:
        return (torch.rand(count, PARTS, generator=generator) - 0.3).clamp(min=0)

    start = Embedding(unit(CLUSTERS, WIDTH), unit(CLUSTERS, PARTS, CHANNELS), seen(CLUSTERS))
    objective = Objective.of(resolve_config("scwm", "none", 0), start, torch.arange(CLUSTERS))
    batches = []
    for _ in range(STEPS):
        clusters = torch.randperm(CLUSTERS, generator=generator)[: max(1, batch // INSTANCES)]
        output = Output(unit(batch, WIDTH), unit(batch, PARTS, CHANNELS), seen(batch))
        batches.append((output, clusters.repeat_interleave(INSTANCES)[:batch]))
    return objective, batches


def ours(data: Data) -> dict[str, np.ndarray]:
    """All memories after the batches' updates."""
    objective, batches = data
    for output, labels in batches:
        objective.update(output, labels)  # image i is the only one of cluster i
    return _prototypes(objective)


def reference(data: Data) -> dict[str, np.ndarray]:
    """The same, a sample at a time."""
    objective, batches = data
    assert objective.parts is not None
    settings = objective.settings
    parts = objective.parts.centroids.unbind(1)
    for output, labels in batches:
        assert output.part_features is not None and output.visibility is not None
        clusters, seen = labels.tolist(), output.visibility.tolist()
        whole = objective.whole.centroids
        hard = [
            1 - float(feature @ whole[cluster])
            for feature, cluster in zip(output.global_feature, clusters, strict=True)
        ]
        weights = [math.exp(difficulty / settings.global_tau) for difficulty in hard]
        move(whole, output.global_feature, clusters, weights, settings.momentum)
        for k in range(PARTS):
            weights = []
            for image, cluster in enumerate(clusters):
                own = 1 - float(output.part_features[image, k] @ parts[k][cluster])
                weights.append(seen[image][k] * math.exp(-own / settings.part_tau))
            move(parts[k], output.part_features[:, k], clusters, weights, settings.momentum)
    return _prototypes(objective)


def move(
    prototypes: Tensor, features: Tensor, clusters: list[int], weights: list[float], momentum: float
) -> None:
    """Move each cluster's prototype by the weighted mean of its samples."""
    sums: dict[int, Tensor] = {}
    masses: dict[int, float] = {}
    for feature, cluster, weight in zip(features, clusters, weights, strict=True):
        if weight > 0:
            sums[cluster] = sums.get(cluster, 0) + weight * feature
            masses[cluster] = masses.get(cluster, 0.0) + weight
    for cluster, total in sums.items():
        moved = momentum * prototypes[cluster] + (1 - momentum) * total / masses[cluster]
        prototypes[cluster] = moved / moved.norm()


def _prototypes(objective: Objective) -> dict[str, np.ndarray]:
    assert objective.parts is not None
    return {
        "global": objective.whole.centroids.numpy(),
        "parts": objective.parts.centroids.numpy(),
    }


def agreement(ours: Any, reference: Any) -> dict[str, float]:
    """The largest difference between prototypes."""
    return {f"{name}_error": float(np.abs(ours[name] - reference[name]).max()) for name in ours}


STAGES = (
    Stage(
        name="memory_update",
        unit="images a batch",
        sizes=(64, 128, 256, 1024),
        reference_sizes=(64, 128, 256, 1024),
        tiny=16,
        inputs=inputs,
        ours=ours,
        reference=reference,
        agreement=agreement,
        tolerance={"global_error": 1e-6, "parts_error": 1e-6},
        threads=1,
        repeats=1,
    ),
)

"""Ranking metrics from features; the reference sorts the whole gallery and calls scikit-learn's
average precision for each query, as public evaluation code does.

Both begin at the features. The reference multiplies in float64: float32 leaves the order of close
similarities to chance and the metrics would differ in their fifth digit. At 64 dimensions the
products take next to no time, so that what is measured is the ranking itself.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from benchmarks.harness import Stage
from benchmarks.inputs import features, identities
from scwm.core.allocator import keep_freed_memory
from scwm.evaluation import evaluate_ranking
from scwm.evaluation.ranking import RANKS

MARKET1501 = 15_913  # gallery images without those of identity -1; 3,368 queries
MSMT17 = 82_161  # 11,659 queries
CAMERAS = 6


class Side(NamedTuple):
    """Unit features (N,D) float32, identities (N,) and cameras (N,)."""

    features: np.ndarray
    ids: np.ndarray
    cameras: np.ndarray


def inputs(gallery: int, dimension: int = 2048) -> tuple[Side, Side]:
    """Queries and gallery in the proportion of Market-1501, or of MSMT17 at its own size."""
    queries = 11_659 if gallery == MSMT17 else gallery * 3_368 // MARKET1501
    ids = identities(queries + gallery, "msmt17" if gallery == MSMT17 else "market1501")
    cameras = np.random.default_rng(1).integers(0, CAMERAS, len(ids))
    rows = features(ids, dimension)
    first, rest = slice(queries), slice(queries, None)
    return Side(rows[first], ids[first], cameras[first]), Side(rows[rest], ids[rest], cameras[rest])


def short_inputs(gallery: int) -> tuple[Side, Side]:
    """The same with features of 64 dimensions."""
    return inputs(gallery, 64)


def ours(data: tuple[Side, Side]) -> dict[str, float]:
    """Mean metrics of all queries."""
    keep_freed_memory()  # not before: what the input has freed would hide the peak
    return evaluate_ranking(*data[0], *data[1])


def reference(data: tuple[Side, Side]) -> dict[str, float]:
    """The same, query by query."""
    keep_freed_memory()
    query, gallery = data
    products = (
        torch.from_numpy(query.features).double() @ torch.from_numpy(gallery.features).double().T
    )
    similarity = products.numpy()
    order = np.argsort(-similarity, axis=1)
    rows = []
    for i in range(len(query.ids)):
        ranked = order[i]
        own = (gallery.ids[ranked] == query.ids[i]) & (gallery.cameras[ranked] == query.cameras[i])
        ranked = ranked[~own]
        good = gallery.ids[ranked] == query.ids[i]
        if good.any():
            rows.append((average_precision_score(good, similarity[i, ranked]), *others(good)))
    means = np.mean(rows, axis=0)
    names = ("mAP", "mAP_trapezoid", "mINP", *(f"rank{k}" for k in RANKS))
    return dict(zip(names, means.tolist(), strict=True))


def others(good: np.ndarray) -> tuple[float, ...]:
    """Of one ranked list (G,) of matches and others: trapezoid AP, INP and whether rank k holds."""
    area, before = 0.0, 1.0
    hits = np.flatnonzero(good)
    for found, place in enumerate(hits):
        if place:
            before = found / place
        area += (before + (found + 1) / (place + 1)) / 2
    cmc = good.cumsum().clip(max=1)
    return area / len(hits), len(hits) / (hits[-1] + 1), *(float(cmc[k - 1]) for k in RANKS)


def agreement(ours: dict[str, float], reference: dict[str, float]) -> dict[str, float]:
    """The largest difference of a metric."""
    return {"metric_error": max(abs(ours[name] - reference[name]) for name in reference)}


RANKING = Stage(
    name="ranking",
    unit="gallery images",
    sizes=(1_000, 4_000, MARKET1501, MSMT17),
    reference_sizes=(1_000, 4_000, MARKET1501),
    tiny=200,
    inputs=inputs,
    ours=ours,
    reference=reference,
    agreement=agreement,
    tolerance={"metric_error": 1e-9},
)
STAGES = (
    RANKING,
    replace(RANKING, name="ranking_short_features", inputs=short_inputs),
)

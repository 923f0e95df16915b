"""Effects of the memory's weights, scored by true identities and masks."""

import numpy as np


def wrong_members(labels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mark images whose identity differs from the majority identity of their cluster.

    Args:
        labels: (N,) pseudo labels, -1 = unclustered.
        truth: (N,) true identities; the lowest of equally frequent ones is the majority.

    Returns:
        (N,) bool; an unclustered image is never wrong.
    """
    truth = np.unique(truth, return_inverse=True)[1]
    kept = labels >= 0
    counts = np.zeros((labels.max(initial=-1) + 1, truth.max(initial=-1) + 1), dtype=np.int64)
    np.add.at(counts, (labels[kept], truth[kept]), 1)
    wrong = np.zeros(len(labels), dtype=bool)
    wrong[kept] = truth[kept] != counts.argmax(axis=1)[labels[kept]]
    return wrong


def weight_scores(
    weights: np.ndarray,
    groups: np.ndarray,
    wrong: np.ndarray,
    difficulty: np.ndarray,
    hidden: np.ndarray | None = None,
) -> dict[str, float | None]:
    """Score how a memory's weights treat wrong, hard and hidden samples.

    A *group* holds the samples of one cluster in one batch, whose weights sum to 1 (or to 0 if none
    is visible; such groups do not count). A *ratio* is the weight of a kind of samples, divided by
    their weight if all weights in the same groups were equal. Below 1 these samples have low
    weights. `hard_rank` is Spearman's rank correlation of weight with true difficulty among samples
    of the right identity. Ranks (means of equals) are computed within each group and pooled: a
    weight only compares the samples of one group.

    Args:
        weights: weights of the drawn samples, of any shape, as (B,K); the others broadcast to it.
        groups: integers.
        wrong: bool, the identity differs from the cluster's majority identity.
        difficulty: 1 - cosine to the mean feature of the sample's true identity.
        hidden: bool, the image shows little of the person.

    Returns:
        wrong_ratio, hard_rank (0 without a preference), hidden_ratio; a ratio of samples that do
        not occur is None.
    """
    wrong, difficulty = (np.broadcast_to(a, weights.shape).ravel() for a in (wrong, difficulty))
    hidden = None if hidden is None else np.broadcast_to(hidden, weights.shape).ravel()
    groups = np.unique(np.broadcast_to(groups, weights.shape), return_inverse=True)[1].ravel()
    weights = weights.ravel()
    total = np.bincount(groups, weights)
    equal = (total / np.bincount(groups))[groups]
    scores: dict[str, float | None] = {
        "wrong_ratio": _ratio(weights, equal, wrong),
        "hidden_ratio": None if hidden is None else _ratio(weights, equal, hidden),
    }

    right = ~wrong & (equal > 0)
    import pandas as pd  # slow to import, and an evaluation does not need it

    values = pd.DataFrame({"weight": weights[right], "difficulty": difficulty[right]})
    ranks = values.groupby(groups[right]).rank()
    centred = (ranks - ranks.groupby(groups[right]).transform("mean")).to_numpy()
    spread = np.sqrt((centred**2).sum(axis=0).prod())
    scores["hard_rank"] = float(centred.prod(axis=1).sum() / spread) if spread > 0 else 0.0
    return scores


def _ratio(weights: np.ndarray, equal: np.ndarray, kind: np.ndarray) -> float | None:
    return float(weights[kind].sum() / equal[kind].sum()) if equal[kind].sum() > 0 else None

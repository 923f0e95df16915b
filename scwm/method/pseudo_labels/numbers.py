"""Numbers of clusters."""

import numpy as np


def number_clusters(owner: np.ndarray, smallest: int) -> np.ndarray:
    """Number the clusters of at least `smallest` images by their first images.

    Args:
        owner: (N,) integers, equal for the images of a cluster.

    Returns:
        (N,) int64, clusters from 0, -1 = unclustered.
    """
    _, first, cluster, size = np.unique(
        owner, return_index=True, return_inverse=True, return_counts=True
    )
    kept = np.flatnonzero(size >= smallest)
    number = np.full(len(size), -1, dtype=np.int64)
    number[kept[np.argsort(first[kept])]] = np.arange(len(kept))
    labels: np.ndarray = number[cluster]
    return labels


def own_classes(labels: np.ndarray) -> np.ndarray:
    """Number each unclustered image (-1) as a class of its own, after the clusters."""
    alone = labels < 0
    classes: np.ndarray = np.where(alone, labels.max() + alone.cumsum(), labels)
    return classes

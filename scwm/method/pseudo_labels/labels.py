"""Pseudo identities by a clustering of images on the Jaccard distance.

With DBSCAN the computation follows SpCL (Ge et al., NeurIPS 2020) and Cluster Contrast (Dai et al.,
ACCV 2022).
"""

import numpy as np

from scwm.core.errors import ScwmError
from scwm.core.plugins import CLUSTERINGS
from scwm.method.pseudo_labels.jaccard import jaccard_distance
from scwm.method.pseudo_labels.neighbours import Array


def pseudo_labels(
    features: Array,
    eps: float = 0.6,
    min_samples: int = 4,
    k1: int = 30,
    k2: int = 6,
    clustering: str = "dbscan",
    *,
    neighbours: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Cluster images on the k-reciprocal Jaccard distance.

    Args:
        features: (N,D), rows of length 1.
        eps: largest distance of two images or clusters that the clustering joins, between 0 and 1.
        min_samples: number of images within the radius of a core, or in the smallest cluster.
        k1: number of neighbours of the k-reciprocal sets.
        k2: number of neighbours of the query expansion.
        clustering: name of a module of scwm/method/pseudo_labels/clusterings.
        neighbours: result of `nearest_neighbours(features, k1)`; None: computed here.

    Returns:
        (N,) int64, clusters from 0, -1 = unclustered.

    Raises:
        ScwmError: a feature or a number is not usable, or the clustering is unknown.
    """
    if not 0 < eps < 1:
        raise ScwmError("the distance eps must lie between 0 and 1", f"eps = {eps}")
    if min_samples < 1:
        raise ScwmError("min_samples must be at least 1", f"min_samples = {min_samples}")
    module = CLUSTERINGS.load(clustering)
    most = getattr(module, "LARGEST_DISTANCE", eps)
    near = jaccard_distance(features, k1, k2, neighbours=neighbours, max_distance=most)
    labels: np.ndarray = module.cluster(near, eps, min_samples)
    return labels

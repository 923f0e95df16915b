"""Pseudo identities by DBSCAN on the Jaccard distance.

The computation follows SpCL (Ge et al., NeurIPS 2020) and Cluster Contrast (Dai et al., ACCV 2022).
"""

import numpy as np

from scwm.core.errors import ScwmError
from scwm.method.pseudo_labels.jaccard import jaccard_distance
from scwm.method.pseudo_labels.neighbours import Array


def pseudo_labels(
    features: Array,
    eps: float = 0.6,
    min_samples: int = 4,
    k1: int = 30,
    k2: int = 6,
    *,
    neighbours: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Cluster images by DBSCAN (Ester et al., KDD 1996) on the k-reciprocal Jaccard distance.

    Args:
        features: (N,D), rows of length 1.
        eps: radius of DBSCAN, between 0 and 1.
        min_samples: number of images within the radius of a core.
        k1: number of neighbours of the k-reciprocal sets.
        k2: number of neighbours of the query expansion.
        neighbours: result of `nearest_neighbours(features, k1)`; None: computed here.

    Returns:
        (N,) int64, clusters from 0, -1 = unclustered.

    Raises:
        ScwmError: a feature or a number is not usable.
    """
    if not 0 < eps < 1:
        raise ScwmError("the radius of DBSCAN must lie between 0 and 1", f"eps = {eps}")
    if min_samples < 1:
        raise ScwmError("min_samples must be at least 1", f"min_samples = {min_samples}")
    from sklearn.cluster import DBSCAN  # slow to import, and reading a model does not need it

    near = jaccard_distance(features, k1, k2, neighbours=neighbours, max_distance=eps)
    model = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed")
    labels: np.ndarray = model.fit(near).labels_.astype(np.int64)
    return labels

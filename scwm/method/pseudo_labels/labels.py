"""Pseudo identities by a clustering of images on the Jaccard distance.

With DBSCAN the computation follows SpCL (Ge et al., NeurIPS 2020) and Cluster Contrast (Dai et al.,
ACCV 2022).
"""

import numpy as np

from scwm.core.errors import ScwmError
from scwm.core.plugins import CLUSTERINGS
from scwm.method.pseudo_labels.jaccard import jaccard_distance
from scwm.method.pseudo_labels.neighbours import Array
from scwm.method.pseudo_labels.reliability import Reliability


def pseudo_labels(
    features: Array,
    eps: float = 0.6,
    min_samples: int = 4,
    k1: int = 30,
    k2: int = 6,
    clustering: str = "dbscan",
    *,
    reliability: Reliability | None = None,
) -> np.ndarray:
    """Cluster images on the k-reciprocal Jaccard distance.

    Args:
        features: (N,D), rows of length 1.
        eps: largest distance of two images or clusters that the clustering joins, between 0 and 1.
        min_samples: number of images within the radius of a core, or in the smallest cluster.
        k1: number of neighbours of the k-reciprocal sets.
        k2: number of neighbours of the query expansion.
        clustering: name of a module of scwm/method/pseudo_labels/clusterings.
        reliability: criterion by which unreliable clusters are split; None: none. Its limit is set
            where it has none.

    Returns:
        (N,) int64, clusters from 0, -1 = unclustered.

    Raises:
        ScwmError: a feature or a number is not usable, or the clustering is unknown.
    """
    gap = 0.0 if reliability is None else reliability.gap
    if not 0 < eps - gap <= eps + gap < 1:
        given = f"eps = {eps}" + (f" ± {gap}" if gap else "")
        raise ScwmError("the distance eps must lie between 0 and 1", given)
    if min_samples < 1:
        raise ScwmError("min_samples must be at least 1", f"min_samples = {min_samples}")
    module = CLUSTERINGS.load(clustering)
    most = getattr(module, "LARGEST_DISTANCE", eps + gap)
    near = jaccard_distance(features, k1, k2, max_distance=most)
    labels: np.ndarray = module.cluster(near, eps, min_samples)
    if reliability is None:
        return labels
    tight, loose = (module.cluster(near, radius, min_samples) for radius in (eps - gap, eps + gap))
    return reliability.split(labels, tight, loose)

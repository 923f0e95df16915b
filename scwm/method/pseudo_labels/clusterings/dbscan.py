"""DBSCAN (Ester et al., KDD 1996), as SpCL and Cluster Contrast use it."""

import numpy as np
from scipy import sparse


def cluster(distance: sparse.csr_array, eps: float, min_samples: int) -> np.ndarray:
    """Cluster images by density.

    Args:
        distance: (N,N) sparse, symmetric, with zeros on the diagonal; an absent entry is 1.
        eps: radius, between 0 and 1.
        min_samples: number of images within the radius of a core, itself included.

    Returns:
        (N,) int64, clusters from 0, -1 = unclustered.
    """
    from sklearn.cluster import DBSCAN  # slow to import, and reading a model does not need it

    model = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed")
    labels: np.ndarray = model.fit(distance).labels_.astype(np.int64)
    return labels

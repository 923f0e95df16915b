"""DBSCAN on a sparse matrix of distances, and the pseudo labels that an epoch trains on, those of
SpCL (Ge et al., NeurIPS 2020) and Cluster Contrast (Dai et al., ACCV 2022)."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scwm.core.errors import ScwmError
from scwm.method.pseudo_labels.jaccard import jaccard_distance
from scwm.method.pseudo_labels.neighbours import Array


def dbscan(distances: sparse.csr_array, eps: float, min_samples: int) -> np.ndarray:
    """DBSCAN (Ester et al., KDD 1996) with scikit-learn's labels.

    Cores have at least `min_samples` images within `eps`, themselves included. Clusters are the
    connected components of cores, numbered by their first core; a border image joins the first
    cluster that reaches it.

    Args:
        distances: (N,N) symmetric; an absent entry is farther than `eps`, the diagonal is stored.
        eps: radius.
        min_samples: images within the radius that make a core.

    Returns:
        labels (N,) int64, -1 = in no cluster.
    """
    count = distances.shape[0]
    near = distances.data <= eps
    indptr = np.concatenate([[0], np.cumsum(near)])[distances.indptr]
    indices = distances.indices[near]
    core = np.diff(indptr) >= min_samples
    row = np.repeat(np.arange(count), np.diff(indptr))

    # Components over the edges between cores, numbered by the order of their first member.
    both = core[row] & core[indices]
    edges = (np.ones(np.count_nonzero(both), dtype=bool), (row[both], indices[both]))
    component = connected_components(sparse.coo_array(edges, shape=(count, count)), False)[1]
    labels = np.full(count, -1, dtype=np.int64)
    _, first, inverse = np.unique(component[core], return_index=True, return_inverse=True)
    labels[core] = np.argsort(np.argsort(first))[inverse]

    border = core[row] & ~core[indices]
    lowest = np.full(count, count, dtype=np.int64)
    np.minimum.at(lowest, indices[border], labels[row[border]])
    reached = lowest < count
    labels[reached] = lowest[reached]
    return labels


def pseudo_labels(
    features: Array,
    eps: float = 0.6,
    min_samples: int = 4,
    k1: int = 30,
    k2: int = 6,
    *,
    neighbours: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Pseudo identities: DBSCAN on the k-reciprocal Jaccard distance.

    Args:
        features: (N,D), rows of length 1.
        eps: radius of DBSCAN, between 0 and 1.
        min_samples: images within the radius that make a core.
        k1: neighbours of the k-reciprocal sets.
        k2: neighbours of the query expansion.
        neighbours: what `nearest_neighbours(features, k1)` gave, where it is at hand.

    Returns:
        (N,) int64, clusters from 0, -1 = unclustered.

    Raises:
        ScwmError: unusable features or numbers.
    """
    if not 0 < eps < 1:
        raise ScwmError("the radius of DBSCAN must lie between 0 and 1", f"eps = {eps}")
    if min_samples < 1:
        raise ScwmError("min_samples must be at least 1", f"min_samples = {min_samples}")
    near = jaccard_distance(features, k1, k2, neighbours=neighbours, max_distance=eps)
    return dbscan(near, eps, min_samples)

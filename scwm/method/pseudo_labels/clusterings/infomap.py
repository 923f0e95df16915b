"""Infomap (Rosvall & Bergstrom, PNAS 2008), the second clustering of Cluster Contrast.

The released code of Cluster Contrast (Dai et al., ACCV 2022) gives Infomap the directed graph of
the 15 nearest images, itself included, with cosine similarities of at least 0.5. Here it gets the
undirected graph of the k-reciprocal Jaccard distance, as the other clusterings do (ours).
"""

import warnings

import numpy as np
from scipy import sparse

from scwm.core.plugins import optional_module
from scwm.method.pseudo_labels.numbers import number_clusters


def cluster(distance: sparse.csr_array, eps: float, min_samples: int) -> np.ndarray:
    """Find the modules in which a random walk over the graph stays longest (two levels).

    A link joins each pair of images within `eps`, with the weight ``1 - distance``. Infomap's
    random decisions have a fixed seed, so the same distances give the same clusters.

    Args:
        distance: (N,N) sparse, symmetric, with zeros on the diagonal; an absent entry is 1.
        eps: largest distance of a link, between 0 and 1.
        min_samples: number of images of the smallest cluster; images of smaller ones are
            unclustered.

    Returns:
        (N,) int64, clusters from 0 in the order of their first images, -1 = unclustered.

    Raises:
        ScwmError: the package `infomap` is not installed.
    """
    graph = optional_module("infomap", "infomap").Infomap(two_level=True, silent=True, seed=1)
    pairs = sparse.triu(distance, k=1).tocoo()
    near = pairs.data <= eps
    rows, columns = pairs.coords
    graph.add_nodes(range(distance.shape[0]))
    weights = (1 - pairs.data[near]).tolist()
    graph.add_links(zip(rows[near].tolist(), columns[near].tolist(), weights, strict=True))
    graph.run()
    with warnings.catch_warnings():
        # Its successor crashes where faiss is loaded: both define one class of iterators.
        warnings.filterwarnings("ignore", ".*get_modules is deprecated")
        modules = graph.get_modules()
    owner = np.array([modules[image] for image in range(distance.shape[0])])
    return number_clusters(owner, min_samples)

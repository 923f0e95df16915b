"""Agglomerative clustering with average linkage (Sokal & Michener, 1958), on a sparse distance.

DBSCAN joins two identities by a chain of a few similar images. Average linkage joins clusters only
if all pairs of their images are close on average.
"""

import heapq

import numpy as np
from scipy import sparse

from scwm.method.pseudo_labels.numbers import number_clusters

LARGEST_DISTANCE = 1.0  # a mean holds pairs beyond eps too
ROUNDING = 1e-9  # distances are rounded to 9 decimals


def cluster(distance: sparse.csr_array, eps: float, min_samples: int) -> np.ndarray:
    """Merge the two clusters with the least mean distance, while it is at most `eps`.

    A cluster has the number of its first image. Of equally close pairs, the one with the lowest
    numbers merges first. Only pairs with distances below 1 are stored; no dense matrix is needed.

    Args:
        distance: (N,N) sparse, symmetric, with zeros on the diagonal; an absent entry is 1.
        eps: largest mean distance of two clusters that are merged, between 0 and 1.
        min_samples: number of images of the smallest cluster; images of smaller ones are
            unclustered.

    Returns:
        (N,) int64, clusters from 0 in the order of their first images, -1 = unclustered.
    """
    count, least = distance.shape[0], 1 - eps - ROUNDING
    owner = np.arange(count)
    members = {image: [image] for image in range(count)}
    sizes = np.ones(count, dtype=np.int64)  # 0 of a cluster that was merged into another
    # A cluster's row: clusters, and the sums of the similarities 1 - d to their images. A cluster
    # in it may have merged since: `owner` has the one that it is part of.
    columns = np.split(distance.indices, distance.indptr[1:-1])
    sums = np.split(1 - distance.data, distance.indptr[1:-1])
    close = [
        (-value, image, other, 1, 1)
        for image in range(count)
        for other, value in zip(columns[image].tolist(), sums[image].tolist(), strict=True)
        if image < other and value >= least
    ]
    heapq.heapify(close)
    while close:
        _, kept, gone, *once = heapq.heappop(close)
        if [sizes[kept], sizes[gone]] != once:  # one of them has merged with another since
            continue
        owner[members[gone]] = kept
        members[kept] += members.pop(gone)
        sizes[kept], sizes[gone] = sum(once), 0
        row = owner[np.concatenate([columns[kept], columns[gone]])]
        others, place = np.unique(row, return_inverse=True)
        columns[kept] = others
        sums[kept] = np.bincount(place, np.concatenate([sums[kept], sums[gone]]))
        columns[gone] = sums[gone] = np.empty(0)
        means = sums[kept] / (sizes[kept] * sizes[others])
        for i in np.flatnonzero((means >= least) & (others != kept)).tolist():
            pair = sorted((kept, int(others[i])))
            heapq.heappush(close, (-float(means[i]), *pair, *sizes[pair].tolist()))
    return number_clusters(owner, min_samples)

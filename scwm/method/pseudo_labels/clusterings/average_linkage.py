"""Agglomerative clustering with average linkage (Sokal & Michener, 1958), on a sparse distance.

DBSCAN joins two identities by a chain of a few similar images. Average linkage joins clusters only
if all pairs of their images are close on average.
"""

import numpy as np
from scipy import sparse

from scwm.method.pseudo_labels.numbers import number_clusters

LARGEST_DISTANCE = 1.0  # a mean holds pairs beyond eps too
ROUNDING = 1e-9  # distances are rounded to 9 decimals


def cluster(distance: sparse.csr_array, eps: float, min_samples: int) -> np.ndarray:
    """Merge the two clusters with the least mean distance, while it is at most `eps`.

    Nearest-neighbour chains (Murtagh, 1983) find the merges: two clusters that are the nearest of
    each other are merged at once, which gives the same clusters as merging the closest pair first.
    Only pairs with distances below 1 are stored. No dense matrix is needed.

    Args:
        distance: (N,N) sparse, symmetric, with zeros on the diagonal; an absent entry is 1.
        eps: largest mean distance of two clusters that are merged, between 0 and 1.
        min_samples: number of images of the smallest cluster; images of smaller ones are
            unclustered.

    Returns:
        (N,) int64, clusters from 0 in the order of their first images, -1 = unclustered.
    """
    near = _neighbours(distance)
    members = {image: [image] for image in near}
    for image in range(distance.shape[0]):
        chain = [image] if image in near else []
        while chain:
            tip, before = chain[-1], chain[-2] if len(chain) > 1 else None
            nearest = _nearest(near[tip], len(members[tip]), members, 1 - eps, before)
            if nearest is None:  # only at the chain's start; no later merge brings another closer
                chain.pop()
            elif nearest != before:
                chain.append(nearest)
            else:
                _merge(near, tip, nearest)
                members[nearest] += members.pop(tip)
                chain = chain[:-2] or [nearest]
    owner = np.empty(distance.shape[0], dtype=np.int64)
    for number, images in members.items():
        owner[images] = number
    return number_clusters(owner, min_samples)


def _neighbours(distance: sparse.csr_array) -> dict[int, dict[int, float]]:
    """Map each image to the similarities ``1 - d > 0`` of the other images."""
    rows = zip(distance.indptr[:-1].tolist(), distance.indptr[1:].tolist(), strict=True)
    columns, similarity = distance.indices.tolist(), (1 - distance.data).tolist()
    found = {}
    for image, (start, stop) in enumerate(rows):
        own = zip(columns[start:stop], similarity[start:stop], strict=True)
        found[image] = {other: value for other, value in own if other != image and value > 0}
    return found


def _nearest(
    near: dict[int, float],
    size: int,
    members: dict[int, list[int]],
    least: float,
    before: int | None,
) -> int | None:
    """Return the most similar cluster on average, None if no mean similarity reaches `least`.

    Of equally similar ones `before` wins, then the lowest number.
    """

    def order(other: int) -> tuple[float, bool, int]:
        return near[other] / (size * len(members[other])), other == before, -other

    nearest = max(near, key=order, default=None)
    return nearest if nearest is not None and order(nearest)[0] >= least - ROUNDING else None


def _merge(near: dict[int, dict[int, float]], gone: int, kept: int) -> None:
    """Add the similarities of the cluster `gone` to those of `kept`."""
    own = near[kept]
    for other, total in near.pop(gone).items():
        del near[other][gone]
        if other != kept:
            own[other] = near[other][kept] = own.get(other, 0.0) + total

"""Neighbour search and pseudo labels, compared with the field's dense computation."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.cluster import DBSCAN

from benchmarks.harness import Stage
from benchmarks.inputs import LOOK, features, identities
from scwm.method.pseudo_labels import jaccard_distance, nearest_neighbours

K1, K2, EPS, MIN_SAMPLES = 30, 6, 0.6, 4
DATA_SETS = {12_936: "market1501", 32_621: "msmt17"}
IDENTITIES_A_BLOCK = 18 * LOOK  # about 3,000 images
SAMPLE = 1000  # rows of the Jaccard distance that are compared


@dataclass(frozen=True)
class Images:
    """Features (N,D) with their neighbour lists (N,k), as `nearest_neighbours` gives them."""

    features: np.ndarray
    neighbours: tuple[np.ndarray, np.ndarray]


def images(count: int) -> Images:
    """Made-up images with their neighbours.

    At the size of a data set the neighbours are searched in all of it; at the other sizes only in
    the image's own block of whole looks, since an exact search of a million images takes hours.
    Such inputs are equally hard at every size, which the growth is read from.
    """
    owner = identities(count, DATA_SETS.get(count, "market1501"))
    x = features(owner, 2048 if count < 500_000 else 256)
    if count in DATA_SETS:
        return Images(x, nearest_neighbours(x, K1))
    block = owner // IDENTITIES_A_BLOCK
    block = np.minimum(block, max(0, block.max() - 1))  # the last one is hardly ever whole
    rows = np.split(np.argsort(block, kind="stable"), np.cumsum(np.bincount(block))[:-1])
    indices = np.empty((count, K1), dtype=np.int64)
    similarities = np.empty((count, K1), dtype=np.float32)
    for members in rows:
        found, similarities[members] = nearest_neighbours(x[members], K1)
        indices[members] = members[found]
    return Images(x, (indices, similarities))


@dataclass(frozen=True)
class Clustering:
    """Labels (N,) and some rows of the Jaccard distance, those within EPS at least."""

    labels: np.ndarray
    rows: sparse.csr_array | np.ndarray


def sample(count: int) -> np.ndarray:
    return np.random.default_rng(0).choice(count, min(SAMPLE, count), replace=False)


def our_labels(data: Images) -> Clustering:
    near = jaccard_distance(data.features, K1, K2, neighbours=data.neighbours, max_distance=EPS)
    model = DBSCAN(eps=EPS, min_samples=MIN_SAMPLES, metric="precomputed")
    return Clustering(model.fit(near).labels_, near[sample(near.shape[0])])


def dense_labels(data: Images) -> Clustering:
    """Jaccard distance on dense matrices, image by image, as it is published, then scikit-learn."""
    distance = dense_jaccard(data.features, data.neighbours[0])
    model = DBSCAN(eps=EPS, min_samples=MIN_SAMPLES, metric="precomputed", n_jobs=-1)
    return Clustering(model.fit(distance).labels_, distance[sample(len(distance))])


def dense_jaccard(x: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Zhong et al. (CVPR 2017) from rank lists (N,K1): (N,N) float32."""
    count = len(x)
    half_length = round(K1 / 2) + 1
    full = [reciprocal(ranks, i, K1) for i in range(count)]
    half = [reciprocal(ranks, i, half_length) for i in range(count)]
    weights = np.zeros((count, count), dtype=np.float32)
    for i in range(count):
        chosen = full[i]
        for candidate in full[i]:
            if len(np.intersect1d(half[candidate], full[i])) > 2 / 3 * len(half[candidate]):
                chosen = np.append(chosen, half[candidate])
        chosen = np.unique(chosen)
        squared = 2 - 2 * (x[chosen] @ x[i])
        weights[i, chosen] = np.exp(-squared) / np.exp(-squared).sum()
    expanded = np.zeros_like(weights)
    for i in range(count):
        expanded[i] = weights[ranks[i, :K2]].mean(axis=0)
    del weights
    owners = [np.flatnonzero(expanded[:, k]) for k in range(count)]
    distance = np.zeros_like(expanded)
    for i in range(count):
        shared = np.zeros(count, dtype=np.float32)
        for k in np.flatnonzero(expanded[i]):
            shared[owners[k]] += np.minimum(expanded[i, k], expanded[owners[k], k])
        distance[i] = 1 - shared / (2 - shared)
    return np.maximum(distance, 0)


def reciprocal(ranks: np.ndarray, i: int, length: int) -> np.ndarray:
    """Images of i's list whose own list holds i."""
    forward = ranks[i, :length]
    return forward[(ranks[forward, :length] == i).any(axis=1)]


def same_labels(ours: Clustering, reference: Clustering) -> dict[str, float]:
    """Share of equal labels; greatest difference of a distance, as far as it is within EPS."""
    found = np.full(reference.rows.shape, np.inf)
    row = np.repeat(np.arange(len(found)), np.diff(ours.rows.indptr))
    found[row, ours.rows.indices] = ours.rows.data
    beyond = np.isinf(found)
    error = np.where(beyond, np.maximum(EPS - reference.rows, 0), np.abs(found - reference.rows))
    return {
        "labels_equal": float((ours.labels == reference.labels).mean()),
        "jaccard_error": float(error.max()),
    }


def points(count: int) -> np.ndarray:
    return features(identities(count, DATA_SETS.get(count, "market1501")))


def our_neighbours(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return nearest_neighbours(x, K1)


def sorted_neighbours(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole matrix of similarities, the greatest of each row picked and sorted."""
    similarities = x @ x.T
    ranks = np.argpartition(similarities, -K1, axis=1)[:, -K1:]
    found = np.take_along_axis(similarities, ranks, axis=1)
    order = np.argsort(-found, axis=1)
    return np.take_along_axis(ranks, order, axis=1), np.take_along_axis(found, order, axis=1)


def same_neighbours(
    ours: tuple[np.ndarray, np.ndarray], reference: tuple[np.ndarray, np.ndarray]
) -> dict[str, float]:
    """Share of equal places in the lists; float32 cannot order all of the closest."""
    return {
        "places_equal": float((ours[0] == reference[0]).mean()),
        "similarity_error": float(np.abs(ours[1] - reference[1]).max()),
    }


STAGES = (
    Stage(
        name="neighbours",
        unit="images",
        sizes=(3_000, 6_000, 12_936, 32_621),
        reference_sizes=(3_000, 6_000, 12_936),
        tiny=300,
        inputs=points,
        ours=our_neighbours,
        reference=sorted_neighbours,
        agreement=same_neighbours,
        tolerance={"places_equal": 1e-3, "similarity_error": 3e-6},
    ),
    Stage(
        name="pseudo_labels",
        unit="images",
        sizes=(3_000, 10_000, 12_936, 32_621, 100_000, 200_000, 1_000_000),
        reference_sizes=(3_000, 10_000, 12_936, 32_621),
        tiny=300,
        inputs=images,
        ours=our_labels,
        reference=dense_labels,
        agreement=same_labels,
        tolerance={"labels_equal": 0.0, "jaccard_error": 1e-6},
    ),
)

"""Clusterings on a sparse distance against dense references."""

import numpy as np
import pytest
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import adjusted_rand_score

from scwm.method.pseudo_labels.clusterings import average_linkage


def random_distance(count: int, seed: int) -> np.ndarray:
    """A symmetric distance (N,N) with zeros on the diagonal, of which most pairs are 1."""
    draws = np.random.default_rng(seed)
    near = np.triu(draws.uniform(0.1, 1, (count, count)) * (draws.random((count, count)) < 0.3), 1)
    near[near == 0] = 1
    distance = np.minimum(near, near.T)
    np.fill_diagonal(distance, 0)
    return distance


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("eps", [0.3, 0.6, 0.8, 0.95])
def test_average_linkage_is_that_of_scipy(seed, eps):
    distance = random_distance(60, seed)
    tree = linkage(squareform(distance), "average")
    expected = fcluster(tree, eps, "distance")
    rows, columns = np.nonzero(distance < 1)
    stored = sparse.csr_array((distance[rows, columns], (rows, columns)), shape=distance.shape)
    found = average_linkage.cluster(stored, eps, 1)
    assert adjusted_rand_score(expected, found) == 1
    assert found.max() + 1 == len(np.unique(expected))


@pytest.mark.parametrize("eps", [0.4, 0.5])
def test_the_lowest_numbers_merge_first_among_equally_close_pairs(eps):
    """Of a chain 0-1-2-3 of equal steps, 0-1 merges, then 2-3; their mean distance is 0.85."""
    chain = np.ones((4, 4)) - np.eye(4)
    for one in range(3):
        chain[one, one + 1] = chain[one + 1, one] = 0.4
    found = average_linkage.cluster(sparse.csr_array(np.where(chain < 1, chain, 0)), eps, 1)
    assert found.tolist() == [0, 0, 1, 1]


def test_small_clusters_and_images_without_neighbours_are_unclustered():
    near = sparse.csr_array(([0.1, 0.1], ([1, 2], [2, 1])), shape=(4, 4))
    assert average_linkage.cluster(near, 0.5, 2).tolist() == [-1, 0, 0, -1]
    assert average_linkage.cluster(near, 0.5, 3).tolist() == [-1, -1, -1, -1]

"""k-reciprocal Jaccard distance as one chain of sparse products.

Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding (CVPR 2017), in the
form that SpCL and Cluster Contrast use for clustering.

Notation: L_i are the k1 nearest neighbours of i, itself included; R_i = {j in L_i : i in L_j};
H_i is the same within lists of round(k1/2) + 1. A candidate c in R_i adds its H_c if
|H_c ∩ R_i| > 2/3 |H_c|; E_i is R_i with all additions.

    V_ij  = softmax over j in E_i of -(2 - 2 cos(i, j))
    V'_i  = mean of V_j over the first k2 of L_i
    m_ij  = sum over k of min(V'_ik, V'_jk)
    d_ij  = 1 - m_ij / (2 - m_ij)
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from scipy import sparse

from scwm.core.errors import ScwmError
from scwm.method.pseudo_labels.neighbours import (
    Array,
    nearest_neighbours,
    pair_similarities,
    unit_rows,
)

BLOCKS = 16  # of rows, of the products before the last
SLABS = 4  # of rows, of the last product
CHUNK_TERMS = 1 << 18  # minima held at once by a thread: about 8 MiB


def jaccard_distance(
    features: Array,
    k1: int = 30,
    k2: int = 6,
    *,
    neighbours: tuple[np.ndarray, np.ndarray] | None = None,
    max_distance: float = 1.0,
    rows: int | None = None,
) -> sparse.csr_array:
    """Compute the Jaccard distance of the k-reciprocal encodings of all pairs.

    Args:
        features: (N,D), rows of length 1.
        k1: length of the neighbour lists, the image itself included; limited to N.
        k2: number of images in the query expansion, the image itself included.
        neighbours: result of `nearest_neighbours(features, k)`, k >= k1; None: computed here.
        max_distance: larger distances are left out.
        rows: only pairs with one of the first `rows` images are compared; None: all.

    Returns:
        (N,N) float64, sparse; it stores distances < 1, also zeros; an absent entry is 1.

    Raises:
        ScwmError: features, neighbours or a number are not usable.

    Memory: O(N·k1) before the last product, which is computed in blocks of rows.
    """
    x = unit_rows(features)
    if k1 < 1 or k2 < 1:
        raise ScwmError("k1 and k2 must be at least 1", f"k1 = {k1}, k2 = {k2}")
    indices, similarities = nearest_neighbours(x, k1) if neighbours is None else neighbours
    columns = min(k1, x.shape[0])
    if indices.shape[0] != x.shape[0] or indices.shape[1] < columns:
        raise ScwmError(
            f"neighbour lists of {x.shape[0]} x {columns} are needed",
            f"neighbours of shape {tuple(indices.shape)}",
            "pass nearest_neighbours(features, k1) of the same features",
        )
    indices, similarities = indices[:, :columns], similarities[:, :columns]
    weights = _encode(indices, similarities, k1, x)
    wanted = len(indices) if rows is None else rows
    return _distances(_mean_over_lists(weights, indices[:, :k2]), max_distance, wanted)


def _in_blocks(block: Callable[[slice], sparse.csr_array], count: int) -> sparse.csr_array:
    """Stack the rows block(0:a), block(a:b), ..., computed in threads.

    The number of blocks is fixed, because a sparse product clears a buffer as wide as its result.
    """
    cuts = np.linspace(0, count, min(count, BLOCKS) + 1).astype(int).tolist()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return sparse.vstack(list(pool.map(block, map(slice, cuts[:-1], cuts[1:]))), format="csr")


def _lists(indices: np.ndarray, values: np.ndarray | np.floating | float) -> sparse.csr_array:
    """Convert neighbour lists (N,k) to a sparse (N,N) matrix that holds `values`."""
    count, k = indices.shape
    data = np.array(np.broadcast_to(values, indices.shape)).ravel()
    indptr = np.arange(0, count * k + 1, k)
    out = sparse.csr_array((data, indices.ravel().astype(np.int32), indptr), shape=(count, count))
    out.sort_indices()
    return out


def _reciprocal(indices: np.ndarray) -> sparse.csr_array:
    lists = _lists(indices, np.float32(1))
    return lists.multiply(lists.T.tocsr()).tocsr()


def _encode(
    indices: np.ndarray, similarities: np.ndarray, k1: int, x: torch.Tensor
) -> sparse.csr_array:
    """Compute V (N,N): softmax of -(2 - 2 cos) over each set E.

    Most pairs of a set are in one of the two neighbour lists; only the others are multiplied.
    """
    full = _reciprocal(indices)
    half = _reciprocal(indices[:, : round(k1 / 2) + 1])
    holders = half.T.tocsr()
    size = np.diff(half.indptr)
    # A known cosine is stored as cos + 3 >= 2, so that 1 + 0 marks an unknown one in the sum.
    known = _lists(indices, similarities.astype(np.float64) + 3)
    known = known.maximum(known.T.tocsr())

    def block(rows: slice) -> sparse.csr_array:
        own = full[rows]
        overlap = own.multiply(own @ holders).tocsr()
        overlap.data = (overlap.data > 2 / 3 * size[overlap.indices]).astype(np.float32)
        overlap.eliminate_zeros()
        sets = own + overlap @ half
        sets.sort_indices()
        sets.data = np.ones(sets.nnz)
        return sets + sets.multiply(known[rows])

    weights = _in_blocks(block, len(indices))
    cosine = weights.data - 4
    unknown = np.flatnonzero(weights.data == 1)
    row = np.searchsorted(weights.indptr, unknown, side="right") - 1
    cosine[unknown] = pair_similarities(x, row, weights.indices[unknown])
    weights.data = np.exp(2 * cosine - 2)
    weights.data /= np.repeat(weights.sum(axis=1), np.diff(weights.indptr))
    return weights


def _mean_over_lists(weights: sparse.csr_array, indices: np.ndarray) -> sparse.csr_array:
    """Compute V' (N,N): each row is the mean of its neighbours' rows."""
    lists = _lists(indices, 1 / indices.shape[1])
    return _in_blocks(lambda rows: lists[rows] @ weights, len(indices))


def _distances(weights: sparse.csr_array, max_distance: float, rows: int) -> sparse.csr_array:
    """Compute d (N,N) from V': from the first images to the later ones, by slabs, then mirrored.

    A slab is compared with the rows from its own first row on, so each pair of slabs is computed
    once.
    """
    count = weights.shape[0]
    chunk = max(CHUNK_TERMS, 8 * count)  # far more work than clearing a buffer `count` wide
    itself = np.arange(count, dtype=np.int32)
    parts = [(itself, itself, np.zeros(count))]
    starts = np.linspace(0, rows, SLABS + 1).astype(int).tolist()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start, stop in pairwise(starts):
            slab, by_column = weights[start:stop], weights[start:].T.tocsr()
            terms = np.diff(by_column.indptr)[slab.indices]
            work = np.concatenate([[0], np.cumsum(terms, dtype=np.int64)])[slab.indptr]
            inner = np.searchsorted(work, np.arange(chunk, work[-1], chunk))
            cuts = np.unique([0, *inner, stop - start]).tolist()
            block = partial(_block, slab, by_column, max_distance)
            for i, j, distance in pool.map(block, cuts[:-1], cuts[1:]):
                parts += [(i + start, j + start, distance), (j + start, i + start, distance)]
    row, column, data = map(np.concatenate, zip(*parts, strict=True))
    return sparse.coo_array((data, (row, column)), shape=(count, count)).tocsr()


def _block(
    slab: sparse.csr_array, by_column: sparse.csr_array, max_distance: float, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the distances of pairs (i, j > i) for the rows i of a slab from `start` to `stop`.

    For every stored V'_ik the column k of V' is copied and limited to V'_ik. These entries form one
    row of i, in which a column j occurs once for every k that i and j share.
    """
    rows = slab[start:stop]
    minima = by_column[rows.indices]
    np.minimum(minima.data, np.repeat(rows.data, np.diff(minima.indptr)), out=minima.data)
    shape = (stop - start, minima.shape[1])
    minima = sparse.csr_array((minima.data, minima.indices, minima.indptr[rows.indptr]), shape)
    # Adding an empty matrix sums duplicate entries in linear time, because nothing is sorted.
    shared = minima + sparse.csr_array(shape)
    i = np.repeat(np.arange(start, stop, dtype=np.int32), np.diff(shared.indptr))
    # Rounding removes errors of summation from distances that are exactly 0 or exactly eps:
    # lists of 6 that share 4 images are 1/2 apart.
    distance = np.maximum(1 - shared.data / (2 - shared.data), 0).round(9)
    keep = (shared.indices > i) & (distance < 1) & (distance <= max_distance)
    return i[keep], shared.indices[keep], distance[keep]

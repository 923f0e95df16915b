"""k-reciprocal Jaccard distance as one chain of sparse products.

Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding (CVPR 2017), in the
form that SpCL and Cluster Contrast cluster on.

Notation: L_i the k1 nearest neighbours of i, itself included; R_i = {j in L_i : i in L_j};
H_i the same within lists of round(k1/2) + 1. A candidate c in R_i brings in its H_c when
|H_c ∩ R_i| > 2/3 |H_c|; E_i is R_i with all that was brought in.

    V_ij  = softmax over j in E_i of -(2 - 2 cos(i, j))
    V'_i  = mean of V_j over the first k2 of L_i
    m_ij  = sum over k of min(V'_ik, V'_jk)
    d_ij  = 1 - m_ij / (2 - m_ij)
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy import sparse

from scwm.errors import ScwmError
from scwm.pseudo_labels.neighbours import Array, nearest_neighbours, pair_similarities, unit_rows

CHUNK_TERMS = 1 << 21  # minima held at once by a thread: about 32 MiB


def jaccard_distance(
    features: Array,
    k1: int = 30,
    k2: int = 6,
    *,
    neighbours: tuple[np.ndarray, np.ndarray] | None = None,
    max_distance: float = 1.0,
) -> sparse.csr_array:
    """Jaccard distance of the k-reciprocal encodings of all pairs.

    Args:
        features: (N,D), rows of length 1.
        k1: length of the neighbour lists, the image itself included; at most N is used.
        k2: images averaged in the query expansion, the image itself included.
        neighbours: what `nearest_neighbours(features, k)` gave, k >= k1, where it is at hand.
        max_distance: greater distances are left out.

    Returns:
        (N,N) float64; stored are the distances < 1 (zeros too), an absent entry is 1.

    Raises:
        ScwmError: unusable features, neighbours or numbers.

    Memory: O(N·k1) before the last product; that one is done in blocks of rows.
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
    weights = _encode(_expanded_sets(indices, k1), indices, similarities, x)
    return _distances(_mean_over_lists(weights, indices[:, :k2]), max_distance)


def _lists(indices: np.ndarray, values: np.ndarray | np.floating | float) -> sparse.csr_array:
    """Neighbour lists (N,k) as a sparse (N,N) matrix with `values` in their places."""
    count, k = indices.shape
    data = np.array(np.broadcast_to(values, indices.shape)).ravel()
    indptr = np.arange(0, count * k + 1, k)
    out = sparse.csr_array((data, indices.ravel().astype(np.int32), indptr), shape=(count, count))
    out.sort_indices()
    return out


def _reciprocal(indices: np.ndarray) -> sparse.csr_array:
    lists = _lists(indices, np.float32(1))
    return lists.multiply(lists.T.tocsr()).tocsr()


def _expanded_sets(indices: np.ndarray, k1: int) -> sparse.csr_array:
    """Indicator of E (N,N)."""
    full = _reciprocal(indices)
    half = _reciprocal(indices[:, : round(k1 / 2) + 1])
    overlap = full.multiply(full @ half.T.tocsr()).tocsr()
    size = np.diff(half.indptr)
    overlap.data = (overlap.data > 2 / 3 * size[overlap.indices]).astype(np.float32)
    overlap.eliminate_zeros()
    expanded = (full + overlap @ half).tocsr()
    expanded.sort_indices()
    return expanded


def _encode(
    sets: sparse.csr_array, indices: np.ndarray, similarities: np.ndarray, x: torch.Tensor
) -> sparse.csr_array:
    """V (N,N): softmax of -(2 - 2 cos) over each set.

    Most pairs of a set stand in one of the two neighbour lists; only the others are multiplied.
    """
    # A known cosine is kept as cos + 3 >= 2, so that 1 + 0 marks an unknown one in the sum.
    known = _lists(indices, similarities.astype(np.float64) + 3)
    known = known.maximum(known.T.tocsr())
    sets.data = np.ones(sets.nnz)
    weights = (sets + sets.multiply(known)).tocsr()
    cosine = weights.data - 4
    unknown = np.flatnonzero(weights.data == 1)
    row = np.repeat(np.arange(x.shape[0]), np.diff(weights.indptr))
    cosine[unknown] = pair_similarities(x, row[unknown], weights.indices[unknown])
    weights.data = np.exp(2 * cosine - 2)
    weights.data /= weights.sum(axis=1)[row]
    return weights


def _mean_over_lists(weights: sparse.csr_array, indices: np.ndarray) -> sparse.csr_array:
    """V' (N,N): each row the mean of its neighbours' rows."""
    if indices.shape[1] == 1:
        return weights
    out = _lists(indices, 1 / indices.shape[1]) @ weights
    return out.tocsr()


def _distances(weights: sparse.csr_array, max_distance: float) -> sparse.csr_array:
    """d (N,N) from V', block by block of rows of about equal work."""
    count = weights.shape[0]
    by_column = weights.T.tocsr()
    terms = np.diff(by_column.indptr)[weights.indices]
    work = np.concatenate([[0], np.cumsum(terms, dtype=np.int64)])[weights.indptr]
    targets = np.arange(CHUNK_TERMS, work[-1], CHUNK_TERMS)
    cuts = np.unique(np.concatenate([[0], np.searchsorted(work, targets), [count]]))

    def block(bounds: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _block(weights[bounds[0] : bounds[1]], by_column, max_distance)

    bounds = list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        data, indices, lengths = zip(*pool.map(block, bounds), strict=True)
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return sparse.csr_array(
        (np.concatenate(data), np.concatenate(indices), indptr), shape=(count, count)
    )


def _block(
    rows: sparse.csr_array, by_column: sparse.csr_array, max_distance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances, columns and entries a row of a few rows of V' to all.

    For every stored V'_ik the column k of V' is laid out as a row of its own and cut to V'_ik;
    summing the rows that belong to i is then an ordinary sparse product, linear in its terms.
    """
    minima = by_column[rows.indices]
    np.minimum(minima.data, np.repeat(rows.data, np.diff(minima.indptr)), out=minima.data)
    gather = sparse.csr_array(
        (np.ones(rows.nnz), np.arange(rows.nnz, dtype=np.int32), rows.indptr),
        shape=(rows.shape[0], rows.nnz),
    )
    total = (gather @ minima).tocsr()
    # Rounding takes the noise of summation from distances that are exactly 0 or exactly eps:
    # lists of 6 that share 4 images are 1/2 apart.
    distance = np.maximum(1 - total.data / (2 - total.data), 0).round(9)
    keep = (distance < 1) & (distance <= max_distance)
    indptr = np.concatenate([[0], np.cumsum(keep)])[total.indptr]
    out = sparse.csr_array((distance[keep], total.indices[keep], indptr), shape=total.shape)
    out.sort_indices()
    return out.data, out.indices, np.diff(out.indptr)

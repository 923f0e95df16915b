"""Exact k nearest neighbours by cosine similarity (ours, docs/method.md, §2).

The search uses faiss or torch, with the same result.
"""

import warnings
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from scwm.core.device import tensor_float32
from scwm.core.errors import ScwmError

Array = np.ndarray | Tensor

CHUNK_ELEMENTS = 1 << 25  # similarities held at once: 128 MiB in float32
MARGIN = 8  # candidates beyond k, so that a tie across the cut is seen
DOUBT = 4e-6  # float32 products this close may be in either order
TIE = 1e-12  # float64 products this close are equal


def unit_rows(features: Array) -> Tensor:
    """Check features (N,D) and return them as float32 unit rows on their own device.

    Unit rows keep their exact values.

    Raises:
        ScwmError: the features are not 2-D, have fewer than two rows, are not finite, or have a row
            of zeros.
    """
    x = torch.as_tensor(features).detach().float()
    if x.ndim != 2 or x.shape[0] < 2 or x.shape[1] < 1:
        raise ScwmError(
            "features must be a matrix of at least two rows, one row per image",
            f"shape {tuple(x.shape)}",
        )
    norm = torch.linalg.vector_norm(x, dim=1)
    bad = ~torch.isfinite(norm) | (norm == 0)
    if bool(bad.any()):
        rows = torch.nonzero(bad)[:, 0].tolist()
        raise ScwmError(
            f"{len(rows)} of {x.shape[0]} feature rows are zero, infinite or not a number",
            f"row {rows[0]}",
            "check for a diverged training (lower the learning rate) or broken images",
        )
    if bool(((norm - 1).abs() > 1e-3).any()):
        x = x / norm[:, None]
    return x.contiguous()


def nearest_neighbours(features: Array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the k most similar rows of each row.

    The row itself comes first, also among duplicates; the lower index comes first among equal
    similarities. Float32 products that are too close to order are compared in float64, so the order
    does not depend on the device, on chunks, or on whether faiss is installed.

    Args:
        features: (N,D), rows of length 1.
        k: number of neighbours, the row itself included; limited to N.

    Returns:
        indices (N,k) int64 and cosine similarities (N,k) float32.

    Raises:
        ScwmError: the features are not usable, or k < 1.
    """
    x = unit_rows(features)
    if k < 1:
        raise ScwmError("k must be at least 1", f"k = {k}")
    count = x.shape[0]
    k = min(k, count)
    wanted = min(k + MARGIN, count)
    with_faiss = x.device.type == "cpu" and find_spec("faiss") is not None
    indices, similarities = (_search_faiss if with_faiss else _search_torch)(x, wanted)

    # Doubtful rows have two neighbours too close to order. In cut rows the tie may extend past the
    # result of the search, so the whole row is needed.
    gaps = similarities[:, :-1] - similarities[:, 1:]
    doubtful = (gaps[:, :k] < DOUBT).any(axis=1) | (indices[:, 0] != np.arange(count))
    cut = np.zeros(count, dtype=bool)
    if wanted < count:
        cut = similarities[:, k - 1] - similarities[:, -1] < DOUBT
    for rows, whole in ((np.flatnonzero(doubtful & ~cut), False), (np.flatnonzero(cut), True)):
        width = count if whole else wanted * x.shape[1]
        step = max(1, CHUNK_ELEMENTS // (2 * width))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            candidates = None if whole else indices[part]
            found = _exact(x, part, candidates, k)
            indices[part, :k], similarities[part, :k] = found
    return np.ascontiguousarray(indices[:, :k]), np.ascontiguousarray(similarities[:, :k])


def pair_similarities(x: Tensor, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Compute cosine similarities (n,) float32 of the pairs (rows[n], columns[n]) of unit rows x.

    `rows` ascend. The host computes them without a copy of the rows of each pair. x is (N,D).
    """
    host = x.cpu()
    indptr = torch.from_numpy(np.searchsorted(rows, np.arange(len(x) + 1)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse", UserWarning)  # "in beta state", once a process
        pairs = torch.sparse_csr_tensor(
            indptr, torch.from_numpy(columns.astype(np.int64)), torch.ones(len(rows)), (len(x),) * 2
        )
        products: Tensor = torch.sparse.sampled_addmm(pairs, host, host.T, beta=0)
        return products.values().numpy()


def _search_faiss(x: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    rows = x.cpu().numpy()
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    similarities, indices = index.search(rows, k)
    return indices, similarities


def _search_torch(x: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    indices = np.empty((x.shape[0], k), dtype=np.int64)
    similarities = np.empty((x.shape[0], k), dtype=np.float32)
    step = max(1, CHUNK_ELEMENTS // x.shape[0])
    with tensor_float32(x.device, False), torch.autocast(x.device.type, enabled=False):
        for start in range(0, x.shape[0], step):
            values, found = torch.topk(x[start : start + step] @ x.T, k, dim=1)
            similarities[start : start + step] = values.cpu().numpy()
            indices[start : start + step] = found.cpu().numpy()
    return indices, similarities


def _exact(
    x: Tensor, rows: np.ndarray, candidates: np.ndarray | None, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Order candidates (n,c), or all rows, by float64 similarity; itself first, then lower index.

    Similarities within TIE are equal: float64 products of equal rows differ in the last bits with
    their place in the matrix.
    """
    place = torch.as_tensor(rows, device=x.device)
    own = x[place].double()
    if candidates is None:
        products = torch.cat([own @ block.double().T for block in x.split(8192)], 1)
        products.scatter_(1, place[:, None], torch.inf)
        last = products.topk(k, dim=1).values[:, -1:]
        chosen = products > last + TIE
        tied = (products >= last - TIE) & ~chosen
        chosen |= tied & (tied.cumsum(1) <= k - chosen.sum(1, keepdim=True))
        found = torch.nonzero(chosen)[:, 1].view(-1, k)
        products = products.gather(1, found)
    else:
        found = torch.as_tensor(candidates, device=x.device).sort(dim=1).values
        products = torch.bmm(x[found].double(), own[:, :, None])[:, :, 0]
        products.masked_fill_(found == place[:, None], torch.inf)
    # Runs of equal similarity are put in index order: sort by (run, index).
    products, order = products.sort(dim=1, descending=True)
    found = found.gather(1, order)
    run = torch.zeros_like(found)
    run[:, 1:] = (products[:, :-1] - products[:, 1:] > TIE).cumsum(1)
    order = (run * len(x) + found).argsort(dim=1)[:, :k]
    values = products.gather(1, order)
    values[:, 0] = (own * own).sum(1)
    return found.gather(1, order).cpu().numpy(), values.float().cpu().numpy()

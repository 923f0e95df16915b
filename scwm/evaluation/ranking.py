"""Ranking metrics of person re-identification: CMC, mAP, mINP.

Protocol of Market-1501 (Zheng et al., ICCV 2015): for each query, gallery images of its identity
from its own camera are left out; identity -1 is no image of a person and dropped; identity 0 are
distractors and stay. Every metric follows from the ranks r_1 < ... < r_P of a query's P matches:

    AP            mean of n / r_n (step)
    AP_trapezoid  mean of (n / r_n + (n - 1) / (r_n - 1)) / 2, the second term 1 where r_n = 1
    INP           P / r_P (Ye et al., TPAMI 2021)
    rank-k        r_1 <= k
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from scwm.errors import ScwmError
from scwm.progress import progress

Array = np.ndarray | Tensor

CHUNK_ELEMENTS = 1 << 23  # similarities held at once: 64 MiB
GALLERY_BLOCK = 8192  # gallery rows brought to float64 at once
TIE = 1e-12  # similarities this close are equal
RANKS = (1, 5, 10)


def evaluate_ranking(
    query_features: Array,
    query_ids: Array,
    query_cameras: Array,
    gallery_features: Array,
    gallery_ids: Array,
    gallery_cameras: Array,
    chunk: int | None = None,
) -> dict[str, float]:
    """Mean metrics over the queries that have a match; the others are skipped.

    The gallery is ranked by inner product, computed in float64; equal ones keep gallery order.

    Args:
        query_features: (Q,D), rows of length 1; gallery_features: (G,D).
        query_ids, query_cameras: (Q,) integers; gallery_ids, gallery_cameras: (G,).
        chunk: queries at once; by default as many as fit 64 MiB of similarities.

    Returns:
        fractions: mAP, mAP_trapezoid, mINP, rank1, rank5, rank10.

    Raises:
        ScwmError: arrays that do not fit together or are not finite; no query has a match.
    """
    scores = query_scores(
        query_features,
        query_ids,
        query_cameras,
        gallery_features,
        gallery_ids,
        gallery_cameras,
        chunk,
    )
    if np.isnan(scores["mAP"]).all():
        raise ScwmError(
            "no query has a match in the gallery from another camera",
            f"{len(scores['mAP'])} queries",
            "check that query and gallery share identities and that cameras are read correctly",
        )
    return {name: float(np.nanmean(values)) for name, values in scores.items()}


def query_scores(
    query_features: Array,
    query_ids: Array,
    query_cameras: Array,
    gallery_features: Array,
    gallery_ids: Array,
    gallery_cameras: Array,
    chunk: int | None = None,
) -> dict[str, np.ndarray]:
    """The metrics of `evaluate_ranking` for each query: (Q,) float64, NaN without a match."""
    query = _Side(query_features, query_ids, query_cameras, "query")
    gallery = _Side(gallery_features, gallery_ids, gallery_cameras, "gallery").of_persons()
    queries, ranks = [], []
    for start, similarities, row, column in _chunks(query, gallery, chunk):
        ranks.append(_ranks(similarities, row, column).cpu().numpy())
        queries.append(start + row.cpu().numpy())
    return _scores(np.concatenate(queries), np.concatenate(ranks), len(query.ids))


def ranked_lists(
    query_features: Array,
    query_ids: Array,
    query_cameras: Array,
    gallery_features: Array,
    gallery_ids: Array,
    gallery_cameras: Array,
    top: int = 10,
    chunk: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The head of each query's ranked gallery, under the rules of `evaluate_ranking`.

    Returns:
        indices (Q,top) int64 into the gallery, similarities (Q,top) float64, correct (Q,top)
        bool; where fewer images are admissible: -1, -inf, False.
    """
    query = _Side(query_features, query_ids, query_cameras, "query")
    gallery = _Side(gallery_features, gallery_ids, gallery_cameras, "gallery").of_persons()
    indices = np.full((len(query.ids), top), -1, dtype=np.int64)
    scores = np.full((len(query.ids), top), -np.inf)
    for start, similarities, _, _ in _chunks(query, gallery, chunk):
        rounded = similarities.round(decimals=12)  # TIE
        order = rounded.sort(dim=1, descending=True, stable=True).indices[:, :top]
        found = similarities.gather(1, order)
        indices[start : start + len(order), : order.shape[1]] = order.cpu().numpy()
        scores[start : start + len(order), : order.shape[1]] = found.cpu().numpy()
    absent = np.isneginf(scores)
    correct = gallery.ids.cpu().numpy()[indices] == query.ids.cpu().numpy()[:, None]
    indices = np.where(absent, -1, gallery.rows.cpu().numpy()[indices])
    return indices, scores, correct & ~absent


class _Side:
    """Features (N,D), identities (N,) and cameras (N,) of query or gallery, checked."""

    def __init__(self, features: Array, ids: Array, cameras: Array, name: str) -> None:
        self.features = torch.as_tensor(features).detach()
        device = self.features.device
        self.ids = torch.as_tensor(ids, device=device).long()
        self.cameras = torch.as_tensor(cameras, device=device).long()
        self.rows = torch.arange(len(self.ids), device=device)
        shape = tuple(self.features.shape)
        if len(shape) != 2 or self.ids.shape != shape[:1] or self.cameras.shape != shape[:1]:
            raise ScwmError(
                "features (N,D), identities (N,) and cameras (N,) do not fit together",
                f"{name}: {shape}, {tuple(self.ids.shape)}, {tuple(self.cameras.shape)}",
            )
        if not bool(torch.isfinite(self.features).all()):
            raise ScwmError("features hold infinities or NaN", name, "look for a diverged training")

    def of_persons(self) -> "_Side":
        """Without identity -1."""
        keep = self.ids != -1
        if not bool(keep.any()):
            raise ScwmError("the gallery holds no image of a person", "gallery")
        if not bool(keep.all()):
            self.features, self.ids = self.features[keep], self.ids[keep]
            self.cameras, self.rows = self.cameras[keep], self.rows[keep]
        return self


def _chunks(
    query: _Side, gallery: _Side, chunk: int | None
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """For some queries at a time: the first one's index, similarities (q,G) with -inf where
    inadmissible, and the row and column of each match."""
    if query.features.shape[1] != gallery.features.shape[1]:
        raise ScwmError(
            "query and gallery features differ in length",
            f"{query.features.shape[1]} and {gallery.features.shape[1]}",
        )
    count = len(gallery.ids)
    chunk = chunk or max(1, CHUNK_ELEMENTS // count)
    for start in progress(range(0, len(query.ids), chunk), "rank"):
        part = slice(start, start + chunk)
        features = query.features[part].double()
        similarities = features.new_empty(len(features), count)
        for first in range(0, count, GALLERY_BLOCK):
            block = slice(first, first + GALLERY_BLOCK)
            similarities[:, block] = features @ gallery.features[block].double().T
        row, column = torch.nonzero(query.ids[part, None] == gallery.ids, as_tuple=True)
        own = query.cameras[part][row] == gallery.cameras[column]
        similarities[row[own], column[own]] = -torch.inf
        yield start, similarities, row[~own], column[~own]


def _ranks(similarities: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Ranks from 1 of the matches (P,): one more than the images that stand before them."""
    value = similarities[row, column]
    if similarities.is_cuda:
        ascending = similarities.sort(dim=1).values
    else:  # NumPy's sort is vectorised
        ascending = torch.from_numpy(np.sort(similarities.numpy(), axis=1))
    # Bisect all matches of a query at once: one row of (queries, most matches) each.
    matches = torch.bincount(row, minlength=len(similarities))
    place = torch.arange(len(row), device=row.device) - (matches.cumsum(0) - matches)[row]
    padded = value.new_zeros(len(similarities), int(matches.max()))
    padded[row, place] = value
    upper = torch.searchsorted(ascending, padded + TIE, right=True)[row, place]
    lower = torch.searchsorted(ascending, padded - TIE)[row, place]
    rank = similarities.shape[1] - upper + 1

    tied = torch.nonzero(upper - lower > 1)[:, 0]
    index = torch.arange(similarities.shape[1], device=row.device)
    for part in tied.split(len(similarities)):
        equal = (similarities[row[part]] - value[part, None]).abs() <= TIE
        rank[part] += (equal & (index < column[part, None])).sum(1)
    return rank


def _scores(query: np.ndarray, rank: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Metrics of each of `count` queries from all matches' query and rank."""
    order = np.lexsort((rank, query))
    query, rank = query[order], rank[order]
    matches = np.bincount(query, minlength=count)
    end = np.cumsum(matches)
    n = np.arange(len(query)) - (end - matches)[query] + 1
    before = np.where(rank > 1, (n - 1) / np.maximum(rank - 1, 1), 1.0)
    some = matches > 0
    values = {
        "mAP": np.bincount(query, n / rank, count),
        "mAP_trapezoid": np.bincount(query, (n / rank + before) / 2, count),
    }
    scores = {
        k: np.divide(v, matches, where=some, out=np.full(count, np.nan)) for k, v in values.items()
    }
    first, last = rank[(end - matches)[some]], rank[end[some] - 1]
    found = {"mINP": matches[some] / last} | {f"rank{k}": first <= k for k in RANKS}
    for name, value in found.items():
        scores[name] = np.full(count, np.nan)
        scores[name][some] = value
    return scores

"""Ranking metrics of person re-identification: CMC, mAP, mINP.

Protocol of Market-1501 (Zheng et al., ICCV 2015): for each query, gallery images of its identity
from its own camera are left out. Identity -1 marks images without a person, which are dropped.
Identity 0 marks distractors, which stay. Every metric follows from the ranks r_1 < ... < r_P of a
query's P matches:

    AP            mean of n / r_n (step)
    AP_trapezoid  mean of (n / r_n + (n - 1) / (r_n - 1)) / 2, the second term 1 where r_n = 1
    INP           P / r_P (Ye et al., TPAMI 2021)
    rank-k        r_1 <= k
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from scwm.core.errors import ScwmError
from scwm.data.labels import labelled
from scwm.evaluation.reranking import jaccard_to_gallery, reranked
from scwm.evaluation.similarities import (
    Array,
    RankSide,
    grouped,
    products_of,
    similarity_chunks,
)
from scwm.method.pseudo_labels.neighbours import DOUBT, TIE

CROWDED = 1 / 64  # share of uncertain products above which a chunk is computed again in float64
PAIRS = 1 << 12  # pairs of features multiplied at once in float64
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
    """Compute mean metrics over the queries that have a match; the others are skipped.

    The gallery is ranked by inner product; equal products keep the gallery order. The ranks are
    exact in float64: a CPU computes products in float32, and again in float64 only if they are too
    close to order.

    Args:
        query_features: (Q,D), rows of length 1; gallery_features: (G,D).
        query_ids, query_cameras: (Q,) integers; gallery_ids, gallery_cameras: (G,).
        chunk: queries at once; default: as many as give 8 million similarities.

    Returns:
        mAP, mAP_trapezoid, mINP, rank1, rank5, rank10 as fractions.

    Raises:
        ScwmError: the arrays do not fit together or are not finite, or no query has a match.
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
    means = {name: mean for name, mean in mean_scores(scores).items() if mean is not None}
    if not means:
        raise ScwmError(
            "no query has a match in the gallery from another camera",
            f"{len(scores['mAP'])} queries",
            "check that query and gallery share identities and that the cameras are right",
        )
    return means


def mean_scores(scores: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Average the metrics of `query_scores` over the queries that have a match; None without."""
    matched = ~np.isnan(scores["mAP"])
    some = matched.any()
    return {name: float(np.nanmean(v)) if some else None for name, v in scores.items()}


def query_scores(
    query_features: Array,
    query_ids: Array,
    query_cameras: Array,
    gallery_features: Array,
    gallery_ids: Array,
    gallery_cameras: Array,
    chunk: int | None = None,
    rerank: bool = False,
) -> dict[str, np.ndarray]:
    """Compute `evaluate_ranking`'s metrics of each query, (Q,) float64, NaN without a match.

    With `rerank` the gallery is ranked by `scwm.evaluation.reranking`.
    """
    query = RankSide(query_features, query_ids, query_cameras, "query")
    gallery = RankSide(gallery_features, gallery_ids, gallery_cameras, "gallery")
    nothing = np.empty(0, dtype=np.int64)
    if not all(labelled(side.ids.numpy()) for side in (query, gallery)):
        return _scores(nothing, nothing, len(query.ids))
    gallery = gallery.of_persons()
    exact = rerank or query.features.is_cuda
    precision = torch.float64 if exact else torch.float32
    jaccard = jaccard_to_gallery(query.features, gallery.features) if rerank else None
    queries, ranks = [], []
    for start, similarities, row, column in similarity_chunks(query, gallery, chunk, precision):
        part = slice(start, start + len(similarities))
        if jaccard is not None:
            similarities = reranked(similarities, jaccard[part])
        doubt = DOUBT * query.lengths[part] * gallery.lengths.max()
        features = query.features[part], gallery.features
        found = _ranks(similarities, row, column, *features, doubt)
        ranks.append(found.cpu().numpy())
        queries.append(start + row.numpy())
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
    rerank: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the start of each query's ranked gallery, by the rules of `evaluate_ranking`.

    Returns:
        indices (Q,top) int64 into the gallery; similarities (Q,top) float64, with `rerank` minus
        the re-ranked distances; correct (Q,top) bool; -1, -inf, False after the last admissible
        image.
    """
    query = RankSide(query_features, query_ids, query_cameras, "query")
    gallery = RankSide(gallery_features, gallery_ids, gallery_cameras, "gallery").of_persons()
    indices = np.full((len(query.ids), top), -1, dtype=np.int64)
    scores = np.full((len(query.ids), top), -np.inf)
    jaccard = jaccard_to_gallery(query.features, gallery.features) if rerank else None
    for start, similarities, _, _ in similarity_chunks(query, gallery, chunk, torch.float64):
        if jaccard is not None:
            similarities = reranked(similarities, jaccard[start : start + len(similarities)])
        rounded = similarities.round(decimals=12)  # TIE
        order = rounded.sort(dim=1, descending=True, stable=True).indices[:, :top]
        found = similarities.gather(1, order)
        indices[start : start + len(order), : order.shape[1]] = order.cpu().numpy()
        scores[start : start + len(order), : order.shape[1]] = found.cpu().numpy()
    absent = np.isneginf(scores)
    correct = gallery.ids.numpy()[indices] == query.ids.numpy()[:, None]
    indices = np.where(absent, -1, gallery.rows.numpy()[indices])
    return indices, scores, correct & ~absent


def _ranks(
    similarities: Tensor,
    row: Tensor,
    column: Tensor,
    query: Tensor,
    gallery: Tensor,
    doubt: Tensor,
) -> Tensor:
    """Compute ranks from 1 of the matches (P,): one more than the number of earlier images.

    Args:
        similarities: (q,G) in float32 or float64, -inf for inadmissible images.
        row, column: (P,) place of each match, ordered by row, on the host.
        query, gallery: features (q,D) and (G,D).
        doubt: (q,) largest difference of float32 products whose order is uncertain.
    """
    exact = similarities.dtype == torch.float64
    # Bisect all matches of a query at once: one row of (queries, most matches) each.
    matches = torch.bincount(row, minlength=len(similarities))
    most, device = int(matches.max()), similarities.device
    row, column, place = (x.to(device) for x in (row, column, grouped(matches)[1]))
    value = similarities[row, column]
    margin = torch.full_like(value, TIE) if exact else doubt[row].to(value)
    bounds = value.new_zeros(2, len(similarities), most)
    bounds[:, row, place] = torch.stack([value - margin, value + margin])
    ascending = _ascending(similarities)
    lower = torch.searchsorted(ascending, bounds[0])[row, place]
    upper = torch.searchsorted(ascending, bounds[1], right=True)[row, place]
    rank, doubtful = similarities.shape[1] - upper + 1, upper - lower > 1
    if not exact and (upper - lower)[doubtful].sum() > CROWDED * similarities.numel():
        again = products_of(query, gallery, torch.float64)
        again.masked_fill_(similarities.isneginf(), -torch.inf)
        return _ranks(again, row.cpu(), column.cpu(), query, gallery, doubt)

    def products(rows: Tensor, columns: Tensor) -> Tensor:
        if exact:
            return similarities[rows, columns]
        pairs = zip(rows.split(PAIRS), columns.split(PAIRS), strict=True)
        return torch.cat(
            [torch.linalg.vecdot(query[r].double(), gallery[c].double()) for r, c in pairs]
        )

    for some in torch.nonzero(doubtful)[:, 0].split(len(similarities)):
        near = (similarities[row[some]] - value[some, None]).abs() <= margin[some, None]
        match, other = torch.nonzero(near, as_tuple=True)
        ahead = products(row[some][match], other) - products(row[some], column[some])[match]
        before = (ahead > TIE) | ((ahead.abs() <= TIE) & (other < column[some][match]))
        rank[some] += torch.zeros_like(some).index_add_(0, match, before.long())
    return rank


def _ascending(similarities: Tensor) -> Tensor:
    """Sort each row."""
    if similarities.is_cuda:
        return similarities.sort(dim=1).values
    rows = similarities.numpy().copy()  # NumPy's sort is vectorised, and leaves other threads free
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(
            pool.map(lambda part: part.sort(axis=1), np.array_split(rows, torch.get_num_threads()))
        )
    return torch.from_numpy(rows)


def _scores(query: np.ndarray, rank: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Compute the metrics of `count` queries from the query and rank of each match."""
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

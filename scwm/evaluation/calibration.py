"""Similarity thresholds of a run against false matches, from query and gallery with identities."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from scwm.core.errors import ScwmError
from scwm.evaluation.sides import Side
from scwm.evaluation.similarities import RankSide, similarity_chunks

THRESHOLDS = torch.arange(51) / 50
COLUMNS = (
    *("min_similarity", "false_match_rate", "true_matches_found", "queries_with_false_match"),
)


def calibrate(sides: Mapping[str, Side], feature: str) -> list[dict[str, float]]:
    """Compute shares of similarities that reach each of `THRESHOLDS`.

    As in Market-1501's protocol, images of the query's identity and camera and images without a
    person are left out.

    Returns:
        One row per threshold with `COLUMNS`: the threshold; the shares of pairs of two identities
        and of pairs of one that reach it; and the share of queries with a false match, which grows
        with the gallery.

    Raises:
        ScwmError: there are no pairs of one identity, or none of two.
    """
    query, gallery = (
        RankSide(side.embedding.features()[feature], side.ids, side.cameras, name)
        for name, side in sides.items()
    )
    counts = np.zeros((3, len(THRESHOLDS) + 1), dtype=np.int64)  # the first of each counts all
    for _, similarities, row, column in similarity_chunks(
        query.of_persons(), gallery.of_persons(), None, torch.float32
    ):
        true = similarities[row, column]
        similarities[row, column] = -torch.inf
        false = similarities[~similarities.isneginf()]
        counts += np.stack([_reaching(x) for x in (false, true, similarities.amax(dim=1))])
    totals = counts[:, :1]
    if not totals.all():
        raise ScwmError(
            "no query has a match in the gallery from another camera, or all have only matches",
            f"{len(query.ids)} queries",
            "calibrate on a labelled set of several identities and cameras",
        )
    shares = (counts / totals)[:, 1:].T.tolist()
    rows = zip(THRESHOLDS.tolist(), shares, strict=True)
    return [dict(zip(COLUMNS, (round(s, 2), *found), strict=True)) for s, found in rows]


def _reaching(values: Tensor) -> np.ndarray:
    """Count all values (n,), then those at least as large as each threshold: (T+1,)."""
    place = torch.bucketize(values, THRESHOLDS.to(values), right=True)
    counts = place.bincount(minlength=len(THRESHOLDS) + 1)
    return counts.flip(0).cumsum(0).flip(0).cpu().numpy()

"""Queries ranked against a gallery of the user's own crops, and the lists as files."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scwm.core.errors import ScwmError
from scwm.core.files import whole_file, write_text
from scwm.data.layouts.market1501 import parse_name
from scwm.evaluation import mean_scores, query_scores, ranked_lists
from scwm.inference.features import CropFeatures

RULES = {
    True: "Identities and cameras are read from the file names (Market-1501's pattern): images of "
    "the query's identity and camera, and junk (identity -1), are left out, as in Market-1501's "
    "protocol.",
    False: "File names hold no identities, so right and wrong are unknown. The query's "
    "own file is left out.",
}

DISTANCE = "reranked_distance"
RERANKED = (
    "Ordered by k-reciprocal re-ranking (Zhong et al., CVPR 2017), not by the similarities shown."
)


@dataclass(frozen=True, eq=False)
class RankLists:
    """The first T of G gallery images for each of Q queries.

    Attributes:
        queries, gallery: Q and G image files.
        index: (Q,T) into the gallery, best first, -1 after its last image.
        similarity: (Q,T) cosines.
        correct: (Q,T) whether it shows the query's identity; None if this is unknown.
        scores: mAP and other scores as fractions, over the queries with a known match; empty if
            there are none.
        scored: number of these queries.
        message: why names count as names without identities although some hold them; "" if none do.
        distance: (Q,T) distances after k-reciprocal re-ranking, if they make the order.
        min_similarity: cosine below which images are not listed; None: all are.
    """

    queries: Sequence[Path]
    gallery: Sequence[Path]
    index: np.ndarray
    similarity: np.ndarray
    correct: np.ndarray | None
    scores: dict[str, float]
    scored: int = 0
    message: str = ""
    distance: np.ndarray | None = None
    min_similarity: float | None = None

    @property
    def rules(self) -> list[str]:
        """Sentences on what is left out, the order, and the queries without any listed image."""
        found = [RULES[self.correct is not None]]
        if self.distance is not None:
            found.append(RERANKED)
        if self.min_similarity is not None:
            nobody = int((self.index < 0).all(axis=1).sum())
            found.append(
                f"Images of a similarity below {self.min_similarity:g} are not listed: nobody here "
                f"for {nobody:,} of {len(self.queries):,} queries."
                + " The scores count them."
                * bool(self.scores)
            )
        return found

    def rows(self, query: int) -> Iterator[tuple[int, Path, float, bool | None]]:
        """Yield rank from 1, file, similarity and whether it is right, for one query's list.

        Ranks of images below `min_similarity` are missing.
        """
        for place, row in enumerate(self.index[query]):
            if row >= 0:
                right = None if self.correct is None else bool(self.correct[query, place])
                yield place + 1, self.gallery[row], float(self.similarity[query, place]), right


def rank_crops(
    query: CropFeatures,
    gallery: CropFeatures,
    top: int = 20,
    names: str = "auto",
    rerank: bool = False,
    min_similarity: float | None = None,
) -> RankLists:
    """Rank the gallery for every query by cosine similarity; equal ones keep the gallery order.

    Args:
        top: length of the lists.
        names: market: file names hold identities and cameras, and Market-1501's protocol applies;
            none: they do not; auto: market if every name holds them.
        rerank: order by k-reciprocal re-ranking (`scwm.evaluation.reranking`).
        min_similarity: leave images of a lower cosine out of the lists; the scores count them.

    Raises:
        ScwmError: a name has no identity and camera, and `names` is market.
    """
    labels, message = _labels(query.files, gallery.files, names)
    sides = labels or _own_files(query.files, gallery.files)
    arguments = query.features, *sides[0], gallery.features, *sides[1]
    # Re-ranked lists are cut after their least similar images are left out, not before.
    whole = rerank and min_similarity is not None
    length = len(gallery.files) if whole else min(top, len(gallery.files))
    index, similarity, correct = ranked_lists(*arguments, top=length, rerank=rerank)
    distance = -similarity if rerank else None
    if rerank:
        pairs = zip(index, query.features, strict=True)
        similarity = np.stack([gallery.features[rows] @ one for rows, one in pairs])
    if min_similarity is not None:
        index = np.where(similarity >= min_similarity, index, -1)
        index[np.cumsum(index >= 0, axis=1) > top] = -1
    unknown = {"mAP": np.full(len(index), np.nan)}
    found = query_scores(*arguments, rerank=rerank) if labels else unknown
    scored = int(np.isfinite(found["mAP"]).sum())
    return RankLists(
        query.files,
        gallery.files,
        index,
        similarity,
        correct if labels else None,
        {name: mean for name, mean in mean_scores(found).items() if mean is not None},
        scored,
        message,
        distance,
        min_similarity,
    )


Labels = tuple[np.ndarray, np.ndarray]


def _labels(
    query: Sequence[Path], gallery: Sequence[Path], names: str
) -> tuple[tuple[Labels, Labels] | None, str]:
    """Read identities and cameras of both sides from their names.

    Returns:
        The labels, or None if a name holds none; and a message if only some names do.
    """
    if names == "none":
        return None, ""
    found: list[tuple[int, int]] = []
    odd: list[Path] = []
    for file in (*query, *gallery):
        try:
            found.append(parse_name(file))
        except ScwmError:
            if names == "market":
                raise
            odd.append(file)
    if odd:
        count = f"{len(found):,} of {len(found) + len(odd):,} file names"
        message = f"{count} hold an identity and a camera, but not {odd[0]}: nothing is scored"
        return None, message if found else ""
    ids, cameras = np.array(found).T.copy()
    first = len(query)
    return ((ids[:first], cameras[:first]), (ids[first:], cameras[first:])), ""


def _own_files(query: Sequence[Path], gallery: Sequence[Path]) -> tuple[Labels, Labels]:
    """Make identities by which the protocol leaves out only the query's own file."""
    numbers: dict[str, int] = {}  # a file may be in the gallery twice, also by a link
    own = np.array([numbers.setdefault(os.path.realpath(f), len(numbers) + 1) for f in gallery])
    ids = np.array([numbers.get(os.path.realpath(file), 0) for file in query])
    return (ids, 0 * ids), (own, 0 * own)


def write_rank_lists(lists: RankLists, folder: Path) -> None:
    """Write ranks.csv and ranks.json.

    The CSV has columns query, rank, file, similarity, reranked_distance if it makes the order, and
    correct if it is known. A query without a list has one row with only its name.
    """
    head = ["query", "rank", "file", "similarity"]
    head += [DISTANCE] * (lists.distance is not None)
    head += ["correct"] * (lists.correct is not None)
    with (
        whole_file(folder / "ranks.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        for number, query in enumerate(lists.queries):
            rows = list(lists.rows(number))
            for rank, found, similarity, right in rows:
                known = [] if right is None else [int(right)]
                numbers = [
                    f"{x:.6f}" for x in (similarity, *_distance(lists, number, rank).values())
                ]
                writer.writerow([query, rank, found, *numbers, *known])
            if not rows:
                writer.writerow([query, *[""] * (len(head) - 1)])
    text = json.dumps(as_json(lists), indent=1, ensure_ascii=False)
    write_text(text + "\n", folder / "ranks.json")


def _distance(lists: RankLists, query: int, rank: int) -> dict[str, float]:
    return {} if lists.distance is None else {DISTANCE: float(lists.distance[query, rank - 1])}


def as_json(lists: RankLists) -> dict[str, Any]:
    """Convert the lists for JSON."""
    found = []
    for number, query in enumerate(lists.queries):
        ranked = [
            {"rank": rank, "file": str(file), "similarity": round(similarity, 6)}
            | {key: round(value, 6) for key, value in _distance(lists, number, rank).items()}
            | ({} if right is None else {"correct": right})
            for rank, file, similarity, right in lists.rows(number)
        ]
        found.append({"query": str(query), "gallery": ranked})
    scores = {name: round(value, 6) for name, value in lists.scores.items()}
    counts = {"queries_scored": lists.scored} if scores else {}
    rules = {"rules": " ".join(lists.rules), "message": lists.message}
    return rules | {"scores": scores} | counts | {"queries": found}

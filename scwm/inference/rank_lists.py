"""Queries ranked against a gallery of the user's own crops, and the lists as files."""

import csv
import json
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

NAMES = ("auto", "market", "none")
RULES = {
    True: "Identities and cameras are read from the file names (Market-1501's pattern): images of "
    "the query's identity and camera, and junk (identity -1), are left out, as in Market-1501's "
    "protocol.",
    False: "File names hold no identities, so right and wrong are unknown. The query's "
    "own file is left out.",
}


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
    """

    queries: Sequence[Path]
    gallery: Sequence[Path]
    index: np.ndarray
    similarity: np.ndarray
    correct: np.ndarray | None
    scores: dict[str, float]
    scored: int = 0
    message: str = ""

    def rows(self, query: int) -> Iterator[tuple[int, Path, float, bool | None]]:
        """Yield rank from 1, file, similarity and whether it is right, for one query's list."""
        for place, row in enumerate(self.index[query]):
            if row >= 0:
                right = None if self.correct is None else bool(self.correct[query, place])
                yield place + 1, self.gallery[row], float(self.similarity[query, place]), right


def rank_crops(
    query: CropFeatures, gallery: CropFeatures, top: int = 20, names: str = "auto"
) -> RankLists:
    """Rank the gallery for every query by cosine similarity; equal ones keep the gallery order.

    Args:
        top: length of the lists.
        names: market: file names hold identities and cameras, and Market-1501's protocol applies;
            none: they do not; auto: market if every name holds them.

    Raises:
        ScwmError: a name has no identity and camera, and `names` is market.
    """
    labels, message = _labels(query.files, gallery.files, names)
    sides = labels or _own_files(query.files, gallery.files)
    arguments = query.features, *sides[0], gallery.features, *sides[1]
    index, similarity, correct = ranked_lists(*arguments, top=top)
    found = query_scores(*arguments) if labels else {"mAP": np.full(len(index), np.nan)}
    scored = int(np.isfinite(found["mAP"]).sum())
    return RankLists(
        query.files,
        gallery.files,
        index,
        similarity,
        correct if labels else None,
        mean_scores(found) if scored else {},
        scored,
        message,
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
    places = {file.resolve(): row + 1 for row, file in enumerate(gallery)}
    ids = np.array([places.get(file.resolve(), 0) for file in query])
    return (ids, 0 * ids), (np.arange(len(gallery)) + 1, np.zeros(len(gallery), dtype=np.int64))


def write_rank_lists(lists: RankLists, folder: Path) -> None:
    """Write ranks.csv (query, rank, file, similarity and, if known, correct) and ranks.json."""
    head = ["query", "rank", "file", "similarity", "correct"]
    with (
        whole_file(folder / "ranks.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head if lists.correct is not None else head[:-1])
        for number, query in enumerate(lists.queries):
            for rank, found, similarity, right in lists.rows(number):
                known = [] if right is None else [int(right)]
                writer.writerow([query, rank, found, f"{similarity:.6f}", *known])
    text = json.dumps(as_json(lists), indent=1, ensure_ascii=False)
    write_text(text + "\n", folder / "ranks.json")


def as_json(lists: RankLists) -> dict[str, Any]:
    """Convert the lists for JSON."""
    found = []
    for number, query in enumerate(lists.queries):
        ranked = [
            {"file": str(file), "similarity": round(similarity, 6)}
            | ({} if right is None else {"correct": right})
            for _, file, similarity, right in lists.rows(number)
        ]
        found.append({"query": str(query), "gallery": ranked})
    scores = {name: round(value, 6) for name, value in lists.scores.items()}
    counts = {"queries_scored": lists.scored} if scores else {}
    rules = {"rules": RULES[lists.correct is not None], "message": lists.message}
    return rules | {"scores": scores} | counts | {"queries": found}

"""Rank lists and identities of crops as pages: one file each, without network."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np

from scwm.core.measures import measures
from scwm.core.progress import progress
from scwm.data.images import read_image
from scwm.inference.clusters import Clusters
from scwm.inference.rank_lists import RankLists
from scwm.reporting.markup import render

HEIGHT, WIDTH = 128, 96  # pixels of a thumbnail, at most
QUALITY = 80
QUERIES = 50  # shown of the rank lists
CROPS = 3000  # shown of the identities, about 2.5 KB each
UNCLUSTERED = -1
FIRST = 12  # of an identity, before the rest is folded
TEMPLATE = "inference/templates/crops.html"
KINDS = {None: ("", ""), True: ("right", "✓ "), False: ("wrong", "✗ ")}


def rank_page(lists: RankLists, title: str, model: str) -> str:
    """Build the page of the rank lists of at most `QUERIES` evenly spread queries.

    Args:
        lists: the rank lists.
        title: title of the page.
        model: what computed the features.
    """
    known, count = lists.correct is not None, len(lists.queries)
    shown = np.unique(np.linspace(0, count - 1, QUERIES).astype(int)).tolist()
    notes = [f"Model: {model}.", *lists.rules]
    if lists.scores:
        named = measures("mAP", "rank1", "rank5", "rank10")
        text = ", ".join(f"{one.title} {one.show(lists.scores[one.key])}" for one in named)
        which = "all" if lists.scored == count else f"the {lists.scored:,} with a match of"
        notes.append(f"Over {which} {count:,} queries, in percent: {text}.")
    if lists.message:
        notes.append(f"{lists.message}.")
    if len(shown) < count:
        shares = f"{len(shown)} of {count:,} queries are shown"
        notes.append(f"{shares}; all are in ranks.csv and ranks.json.")
    sections = [_ranked(lists, number) for number in progress(shown, "page")]
    return render(
        TEMPLATE, title=title, notes=notes, label="Queries", sections=sections, known=known
    )


def _ranked(lists: RankLists, number: int) -> dict[str, Any]:
    """Describe a section: the rank list of a query, with its rows as a table."""
    query = lists.queries[number]
    crops = [_crop(query, f"query {query.name}", "query", "query")]
    rows: list[tuple[object, ...]] = []
    for rank, file, similarity, right in lists.rows(number):
        kind, sign = KINDS[right]
        alt = f"rank {rank}{kind and ', ' + kind}: {file.name}, similarity {similarity:.2f}"
        crops.append(_crop(file, alt, f"{sign}{similarity:.2f}", kind))
        rows.append((rank, file, f"{similarity:.3f}", *([] if right is None else [kind])))
    title = f"{number + 1}." if rows else f"{number + 1}. Nobody here:"
    section = {"name": number + 1, "title": title, "about": query.name}
    return section | {"crops": crops, "more": [], "rows": rows}


def cluster_page(clusters: Clusters, title: str, model: str) -> str:
    """Build contact sheets: a section per identity, largest first, unclustered crops last."""
    labels = clusters.labels
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    order = [int(i) for i in np.argsort(-sizes, kind="stable") if sizes[i]]
    loose = int((labels < 0).sum())
    notes = [f"Model: {model}."]
    notes += [f"{len(labels):,} crops: {len(order):,} identities, {loose:,} crops unclustered."]
    if clusters.message:
        notes.append(f"{clusters.message}.")
    if clusters.settings:
        notes.append(f"Clustered with {clusters.settings}.")
    keys = [*order, *([UNCLUSTERED] if loose else [])]
    shown, quota = keys[: CROPS // FIRST], max(FIRST, CROPS // len(keys))
    if len(shown) < len(keys):
        notes.append(f"The {len(shown)} largest identities are shown.")
    if max(*sizes, loose) > quota:
        notes.append(f"At most {quota} crops of each are shown; all are in clusters.csv.")
    sections = [_sheet(clusters, key, quota) for key in progress(shown, "page")]
    return render(
        TEMPLATE, title=title, notes=notes, label="Identities", sections=sections, known=False
    )


def _sheet(clusters: Clusters, key: int, quota: int) -> dict[str, Any]:
    """Describe a section: the crops of an identity, all but the first folded."""
    name = "unclustered" if key == UNCLUSTERED else str(key)
    title = "Unclustered" if key == UNCLUSTERED else f"Identity {key}"
    files = [clusters.files[row] for row in np.flatnonzero(clusters.labels == key).tolist()]
    crops = [_crop(file, f"{title}: {file.name}") for file in files[:quota]]
    section = {"name": name, "title": title, "about": f"{len(files)} crops", "rows": None}
    return section | {"crops": crops[:FIRST], "more": crops[FIRST:]}


def _crop(file: Path, alt: str, caption: str = "", kind: str = "") -> dict[str, Any]:
    """Embed a crop as a small JPEG in a data URI, with its text and its size in pixels."""
    whole = read_image(file)
    scale = min(WIDTH / whole.width, HEIGHT / whole.height)
    small = whole.resize([max(1, round(side * scale)) for side in whole.size])
    content = io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY)
    source = f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
    size = {"width": small.width, "height": small.height}
    return {
        "name": file.name,
        "source": source,
        "alt": alt,
        "caption": caption,
        "kind": kind,
        **size,
    }

"""Rank lists and identities of crops as pages to look at: one file each, without network."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from scwm.core.progress import progress
from scwm.inference.clusters import Clusters
from scwm.inference.rank_lists import RULES, RankLists
from scwm.reporting.markup import html_page, html_rows

HEIGHT, WIDTH = 128, 96  # pixels of a thumbnail, at most
QUALITY = 80
QUERIES = 50  # shown of the rank lists
CROPS = 3000  # shown of the identities, about 2.5 KB each
UNCLUSTERED = -1
FIRST = 12  # of an identity, before the rest is folded

STYLE = """
:root { --right: #00734f; --wrong: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --right: #4fd1a5; --wrong: #ff8a80; } }
.crops { display: flex; flex-wrap: wrap; gap: .5rem; list-style: none; padding: 0;
  margin: .5rem 0; }
.crops li { max-width: none; font-size: .78rem; text-align: center; color: var(--soft);
  font-variant-numeric: tabular-nums; }
.crops img { display: block; height: 128px; width: auto; border-radius: 4px;
  border: 3px solid transparent; }
.crops .query img { border-color: var(--text); }
.crops .query { margin-right: .6rem; color: var(--text); }
.crops .right img { border-color: var(--right); } .crops .right { color: var(--right); }
.crops .wrong img { border: 3px dashed var(--wrong); } .crops .wrong { color: var(--wrong); }
.jump { display: flex; flex-wrap: wrap; gap: .25rem; list-style: none; padding: 0; }
.jump a { display: block; min-width: 1.6rem; padding: .2rem .35rem; text-align: center;
  border: 1px solid var(--line); border-radius: 4px; text-decoration: none; }
h2 { overflow-wrap: anywhere; font-size: 1.1rem; } h2 small { color: var(--soft); }
@media (max-width: 30rem) { main { padding: 1rem .8rem; } .crops img { height: 104px; } }
"""


def rank_page(lists: RankLists, title: str) -> str:
    """The page of the rank lists, of at most `QUERIES` queries spread evenly over all.

    Args:
        title: of the page: the model and its feature.
    """
    count = len(lists.queries)
    shown = np.unique(np.linspace(0, count - 1, QUERIES).astype(int)).tolist()
    parts = [f"<h1>{escape(title)}</h1>", f"<p>{RULES[lists.correct is not None]}</p>"]
    if lists.scores:
        named = {"mAP": "mAP", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10"}
        text = ", ".join(f"{name} {100 * lists.scores[k]:.1f}" for k, name in named.items())
        parts.append(f"<p>Over all {count:,} queries, in percent: {text}.</p>")
    if lists.correct is not None:
        parts.append(
            '<p class="caption">✓ and a full frame: the same identity. '
            "✗ and a dashed frame: another. Number: cosine similarity.</p>"
        )
    if len(shown) < count:
        parts.append(
            f"<p>{len(shown)} of {count:,} queries are shown; all are in ranks.csv and ranks.json."
            "</p>"
        )
    parts.append(_jump("Queries", [(f"q{n + 1}", str(n + 1)) for n in shown]))
    parts += [_ranked(lists, number) for number in progress(shown, "page")]
    return html_page(title, "\n".join(parts), STYLE)


def _ranked(lists: RankLists, number: int) -> str:
    query = lists.queries[number]
    items = [_crop(query, f"query {query.name}", "query", "query")]
    table = []
    for rank, file, similarity, right in lists.rows(number):
        kind, sign = {None: ("", ""), True: ("right", "✓ "), False: ("wrong", "✗ ")}[right]
        alt = f"rank {rank}{kind and ', ' + kind}: {file.name}, similarity {similarity:.2f}"
        items.append(_crop(file, alt, f"{sign}{similarity:.2f}", kind))
        table.append((rank, file, f"{similarity:.3f}", *([] if right is None else [kind])))
    header = ("Rank", "File", "Similarity", "Same identity")[: len(table[0]) if table else 3]
    return (
        f'<section id="q{number + 1}"><h2>{number + 1}. <code>{escape(query.name)}</code></h2>\n'
        f"{_list(items, 'ol')}\n"
        f"<details><summary>File names</summary>{html_rows(header, table)}</details></section>"
    )


def cluster_page(clusters: Clusters, title: str) -> str:
    """The contact sheets: an identity a section, the largest first, unclustered crops last."""
    labels = clusters.labels
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    order = [int(i) for i in np.argsort(-sizes, kind="stable") if sizes[i]]
    loose = int((labels < 0).sum())
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{len(labels):,} crops: {len(order):,} identities, {loose:,} crops unclustered.</p>",
    ]
    if clusters.message:
        parts.append(f"<p>{escape(clusters.message)}.</p>")
    keys = [*order, *([UNCLUSTERED] if loose else [])]
    shown, quota = keys[: CROPS // FIRST], max(FIRST, CROPS // len(keys))
    if len(shown) < len(keys):
        parts.append(f"<p>The {len(shown)} largest identities are shown.</p>")
    if max(*sizes, loose) > quota:
        parts.append(f"<p>At most {quota} crops of each are shown; all are in clusters.csv.</p>")
    names = [(f"i{key}", "unclustered" if key == UNCLUSTERED else str(key)) for key in shown]
    parts.append(_jump("Identities", names))
    for key, (anchor, name) in progress(list(zip(shown, names, strict=True)), "page"):
        parts.append(_sheet(clusters.files, anchor, name, np.flatnonzero(labels == key), quota))
    return html_page(title, "\n".join(parts), STYLE)


def _sheet(files: Sequence[Path], anchor: str, name: str, rows: np.ndarray, quota: int) -> str:
    title = "Unclustered" if name == "unclustered" else f"Identity {name}"
    items = [_crop(files[row], f"{title}: {files[row].name}", "") for row in rows[:quota]]
    more = ""
    if len(items) > FIRST:
        rest = _list(items[FIRST:], "ul")
        more = f"<details><summary>{len(items) - FIRST} more</summary>{rest}</details>"
    return (
        f'<section id="{anchor}"><h2>{title} <small>{len(rows)} crops</small></h2>\n'
        f"{_list(items[:FIRST], 'ul')}\n{more}</section>"
    )


def _jump(label: str, targets: Iterable[tuple[str, str]]) -> str:
    """Links to the sections, by which the keyboard reaches them."""
    links = "".join(f'<li><a href="#{key}">{escape(text)}</a></li>' for key, text in targets)
    return f'<nav aria-label="{label}"><ol class="jump">{links}</ol></nav>'


def _list(items: Iterable[str], kind: str) -> str:
    return f'<{kind} class="crops">\n' + "\n".join(items) + f"\n</{kind}>"


def _crop(file: Path, alt: str, caption: str, kind: str = "") -> str:
    data, width, height = thumbnail(file)
    return (
        f'<li class="{kind}"><img alt="{escape(alt)}" title="{escape(file.name)}" '
        f'width="{width}" height="{height}" src="{data}">{escape(caption)}</li>'
    )


def thumbnail(file: Path) -> tuple[str, int, int]:
    """A crop as a small JPEG in a data URI, with its width and height."""
    with Image.open(file) as image:
        small = ImageOps.contain(image.convert("RGB"), (WIDTH, HEIGHT))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY)
    text = base64.b64encode(content.getvalue()).decode()
    return f"data:image/jpeg;base64,{text}", small.width, small.height

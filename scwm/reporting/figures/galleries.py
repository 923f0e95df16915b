"""Images of the methods' predictions: part masks and rank lists."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch
from matplotlib.text import Text
from PIL import Image, ImageOps
from scipy.optimize import linear_sum_assignment

from scwm.core.errors import ScwmError
from scwm.reporting.figures.style import MISSING, PARTS, RIGHT, WRONG, dataset_panels, say
from scwm.reporting.runs import Gap, Run, Runs

COLUMNS = 5  # images of the mask gallery
QUERIES, LISTED = 4, 7  # rank lists per method, and images of a list
WIDTH, HEIGHT = 100, 200  # pixels of a picture, at most
EDGE, GAP, HEAD = 6, 10, 30  # pixels of a frame, between pictures, and of a line of text above one
NEUTRAL = "#767B82"
MIDDLE = {WRONG: "#DE4B3B", MISSING: "#C05A20"}
"""For texts, in place of darker colours: like NEUTRAL legible on white and on black."""
MASKS_INCH, RANKS_INCH = 150, 190  # pixels
BLACK = "#000000"
SIGNS = {True: ("✓", RIGHT), False: ("✗", WRONG), None: ("", BLACK)}  # None: without identities
Visuals = dict[str, np.ndarray]
T = TypeVar("T")


def _visuals(run: Run) -> Visuals:
    # Imported here: it loads torch, which takes seconds, and most figures do without it.
    from scwm.evaluation.sides import stored_arrays

    missing = "The pictures of a run are missing."
    path = run.folder / "visuals.npz"
    with stored_arrays(path, missing, "Not the pictures of a run") as stored:
        return dict(stored)


def first_found(
    runs: Runs, dataset: str, methods: Sequence[str], read: Callable[[Run], T], partial: bool
) -> tuple[dict[str, T], list[Gap]]:
    """Call `read` for each method's first seed, and collect gaps for missing results.

    Raises:
        ScwmError: `read` fails and `partial` is false.
    """
    found: dict[str, T] = {}
    gaps = []
    for method in methods:
        for run in runs.of(dataset, method)[:1]:
            try:
                found[method] = read(run)
            except ScwmError as error:
                if not partial:
                    raise
                gaps.append(Gap(dataset, method, run.seed, error.what))
    return found, gaps


def resized(image: np.ndarray) -> np.ndarray:
    """Resize an image (H,W,3) uint8 to a picture, in its own aspect ratio."""
    return np.asarray(ImageOps.contain(Image.fromarray(image), (WIDTH, HEIGHT)))


def part_colours(count: int) -> np.ndarray:
    """Return colours of the parts 1..count, RGB in 0..1, shape (count, 3)."""
    return np.array([to_rgb(PARTS[i % len(PARTS)]) for i in range(count)])


def matched(parts: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rename parts (N,h,w) to the parts of `target` (N,H,W) that they agree with most.

    The assignment maximises the sum of intersections over unions, so that equal colours mean the
    same part. A part without a partner gets a number that `target` does not have.
    """
    (height, width), shape = parts.shape[1:], target.shape[1:]
    rows = (np.arange(height) + 0.5) * shape[0] // height
    columns = (np.arange(width) + 0.5) * shape[1] // width
    cells = target[:, rows.astype(int)][:, :, columns.astype(int)]
    own, other = int(parts.max()) + 1, int(target.max()) + 1
    pairs = parts.astype(int).ravel() * other + cells.astype(int).ravel()
    counts = np.bincount(pairs, minlength=own * other).reshape(own, other)
    unions = counts.sum(1, keepdims=True) + counts.sum(0) - counts
    share = (counts / np.maximum(unions, 1))[1:, 1:]
    names = np.zeros(own, dtype=np.uint8)
    for part, partner in zip(*linear_sum_assignment(share, maximize=True), strict=True):
        if share[part, partner]:
            names[part + 1] = partner + 1
    loose = np.flatnonzero(names[1:] == 0) + 1
    names[loose] = np.arange(len(loose)) + other
    renamed: np.ndarray = names[parts]
    return renamed


def whole(parts: np.ndarray, count: int) -> np.ndarray:
    """Choose images by their parts (N,h,w): rows of those that show most of the usual parts."""
    seen = np.zeros(len(parts))
    for label in range(1, int(parts.max()) + 1):
        shown = (parts == label).any((1, 2))
        seen += shown * shown.mean()
    return np.sort(np.argsort(-seen, kind="stable")[:count])


def enlarged(cells: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Enlarge cells (h,w) or (h,w,3), uint8, to a picture (H,W,3), with sharp borders."""
    height, width, _ = picture.shape
    return np.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.NEAREST))


def outlined(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Draw dark lines on a picture (H,W,3) in 0..1 where its labels (H,W) change, as uint8."""
    edges = np.zeros(labels.shape, dtype=bool)
    edges[1:] |= labels[1:] != labels[:-1]
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    pixels: np.ndarray = np.where(edges[..., None], 0.45, 1) * picture * 255
    return pixels.round().astype(np.uint8)


def overlay(image: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Fade an image (H,W,3) uint8 to grey and colour its parts (h,w), 0 background."""
    picture = resized(image) / 255
    labels = enlarged(parts.astype(np.uint8), picture).astype(int)
    grey = picture.mean(axis=2, keepdims=True).repeat(3, axis=2)
    colours = np.vstack([np.ones(3), part_colours(max(int(labels.max()), 1))])
    strength = np.where(labels > 0, 0.62, 0.35)[..., None]
    return outlined((1 - strength) * grey + strength * colours[labels], labels)


def part_legend(figure: Figure | SubFigure, parts: int) -> None:
    """Draw the colours of the parts 1..parts below the figure."""
    colours = part_colours(parts)
    handles = [Patch(color=tuple(c), label=f"part {i}") for i, c in enumerate(colours, start=1)]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, columnspacing=1.2)


def sheet(panel: Axes, rows: Sequence[Sequence[np.ndarray]], columns: int, head: int) -> int:
    """Draw rows of pictures as one, in a panel whose unit is a cell that holds the largest.

    Args:
        rows: pictures (H,W,3) uint8, each in the middle of its cell.
        head: pixels left free above each picture.

    Returns:
        Height of a cell in pixels.
    """
    shapes = [picture.shape for pictures in rows for picture in pictures]
    tall, wide = (max(shape[axis] for shape in shapes) for axis in (0, 1))
    canvas = np.zeros((len(rows), head + tall + GAP, columns, wide + GAP, 4), dtype=np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            height, width, _ = picture.shape
            top, left = head + (tall - height) // 2, (wide + GAP - width) // 2
            place = canvas[row, top : top + height, column, left : left + width]
            place[..., :3], place[..., 3] = picture, 255
    high, broad = int(canvas.shape[1]), int(canvas.shape[3])
    extent = (0, columns, len(rows), 0)
    pixels = canvas.reshape(len(rows) * high, columns * broad, 4)
    panel.imshow(pixels, extent=extent, aspect=high / broad)
    panel.set_anchor("NW")  # the layout leaves room for labels left of where the panel begins
    panel.set(xlim=(0, columns), ylim=(len(rows), 0), xticks=[], yticks=[])
    panel.grid(visible=False)
    for spine in panel.spines.values():
        spine.set_visible(False)
    return high


def see_through(figure: Figure) -> Figure:
    """Make the ground transparent and texts neither dark nor light, for pages of both kinds."""
    figure.patch.set_alpha(0)
    for panel in figure.findobj(Axes):
        panel.patch.set_alpha(0)
    for text in figure.findobj(Text):
        colour = to_hex(text.get_color()).upper()
        dark = max(to_rgb(colour)) < 0.3
        text.set_color(NEUTRAL if dark else MIDDLE.get(colour, colour))
    return figure


def mask_gallery(runs: Runs, partial: bool = False) -> Figure:
    """Draw images, true parts if known, and each method's predicted parts (first seed found).

    The images show whole people as far as they can be had. A colour is the same part in every row:
    the parts of each method are matched with the true ones, or with the first method's. Methods
    without predicted parts have no row.
    """
    sheets: list[dict[str, list[np.ndarray]]] = []
    gaps, parts = list(runs.gaps), 1
    for dataset in runs.datasets:
        found, more = first_found(runs, dataset, runs.methods, _visuals, partial)
        gaps += more
        rows, most = _mask_rows({m: v for m, v in found.items() if "mask_parts" in v})
        sheets.append(rows)
        parts = max(parts, most)

    columns = max((len(next(iter(rows.values()))) for rows in sheets if rows), default=1)
    heights = [(HEIGHT + GAP) / MASKS_INCH * max(len(rows), 1) + 0.4 for rows in sheets]
    heights[-1] += 0.55
    width = max((WIDTH + GAP) / MASKS_INCH * columns + 1.4, 5.1)
    figure, strips = dataset_panels(runs.datasets, width, heights, gaps)
    for strip, rows in zip(strips, sheets, strict=True):
        panel = strip.subplots()
        if not rows:
            say(panel, "no run shown here predicts parts")
            continue
        sheet(panel, list(rows.values()), columns, 0)
        panel.set_yticks(np.arange(len(rows)) + 0.5, rows)
        panel.tick_params(axis="y", length=0)
    part_legend(strips[-1], parts)
    return see_through(figure)


def _mask_rows(found: dict[str, Visuals]) -> tuple[dict[str, list[np.ndarray]], int]:
    """Draw the named rows of a data set, and count the parts in them."""
    if not found:
        return {}, 1
    first = next(iter(found.values()))
    target = first.get("mask_truth", first["mask_parts"])
    chosen = whole(target, COLUMNS)
    labels = {"truth": target} if "mask_truth" in first else {}
    labels |= {method: matched(one["mask_parts"], target) for method, one in found.items()}
    images = first["mask_images"][chosen]
    rows = {name: list(map(overlay, images, own[chosen])) for name, own in labels.items()}
    most = max(int(own[chosen].max()) for own in labels.values())
    return {"image": list(map(resized, images)), **rows}, most


def rank_lists(runs: Runs, partial: bool = False) -> Figure:
    """Draw queries with their first gallery images, scores, and marks for right and wrong.

    The figure shows `scwm` and a baseline: `pretrained`, else `global_only`, else any method.
    """
    baselines = [m for m in ("pretrained", "global_only") if m in runs.methods][:1]
    methods = [m for m in ("scwm", *baselines) if m in runs.methods] or list(runs.methods[:2])
    gaps = list(runs.gaps)
    sheets: list[dict[str, Visuals]] = []
    for dataset in runs.datasets:
        found, more = first_found(runs, dataset, methods, _visuals, partial)
        gaps += more
        sheets.append({m: v for m, v in found.items() if "rank_query" in v})

    lengths = [v["rank_score"].shape[1] for found in sheets for v in found.values()]
    columns = 1 + min(max(lengths, default=LISTED), LISTED)
    row_height = (HEAD + 2 * EDGE + HEIGHT + GAP) / RANKS_INCH
    heights = [
        0.4 + sum(0.3 + row_height * len(v["rank_query"][:QUERIES]) for v in found.values())
        for found in sheets
    ]
    width = (WIDTH + 2 * EDGE + GAP) / RANKS_INCH * columns + 0.4
    figure, strips = dataset_panels(runs.datasets, width, [max(h, 1.2) for h in heights], gaps)
    for strip, found in zip(strips, sheets, strict=True):
        panels = strip.subplots(max(len(found), 1), 1, squeeze=False)[:, 0]
        if not found:
            say(panels[0], "no run with rank lists")
        for panel, (method, visuals) in zip(panels, found.items(), strict=False):
            _rank_sheet(panel, visuals, columns)
            panel.set_title(method, loc="left", fontweight="bold")
    return see_through(figure)


def _framed(image: np.ndarray, colour: str) -> np.ndarray:
    """Draw a frame around an image, which hides nothing of it."""
    picture = resized(image)
    height, width, _ = picture.shape
    framed = np.empty((height + 2 * EDGE, width + 2 * EDGE, 3), dtype=np.uint8)
    framed[:] = np.round(np.array(to_rgb(colour)) * 255)
    framed[EDGE:-EDGE, EDGE:-EDGE] = picture
    return framed


def _rank_sheet(panel: Axes, visuals: Visuals, columns: int) -> None:
    queries = range(min(QUERIES, len(visuals["rank_query"])))
    lists = [_rank_list(visuals, query) for query in queries]
    height = sheet(panel, [[picture for picture, *_ in row] for row in lists], columns, HEAD)
    for row, shown in enumerate(lists):
        for column, (_, text, colour) in enumerate(shown):
            place = column + 0.5, row + 0.8 * HEAD / height
            panel.text(*place, text, ha="center", fontsize=9, color=colour)


def _rank_list(visuals: Visuals, query: int) -> list[tuple[np.ndarray, str, str]]:
    """List the pictures of a query and its first gallery images, with their texts and colours."""
    found = [(_framed(visuals["rank_query"][query], BLACK), "query", BLACK)]
    images, scores = (visuals[name][query, :LISTED] for name in ("rank_gallery", "rank_score"))
    known = "rank_correct" in visuals
    correct = visuals["rank_correct"][query, :LISTED] if known else [None] * len(images)
    for image, right, score in zip(images, correct, scores, strict=True):
        if np.isfinite(score):  # else the gallery has fewer images than the list is long
            sign, colour = SIGNS[right]
            found.append((_framed(image, colour), f"{sign} {score:.2f}".lstrip(), colour))
    return found

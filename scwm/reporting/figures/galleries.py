"""Images of the methods' predictions: part masks and rank lists."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch
from PIL import Image

from scwm.core.errors import ScwmError
from scwm.reporting.figures.style import PARTS, RIGHT, WRONG, dataset_panels, say
from scwm.reporting.runs import Gap, Run, Runs

COLUMNS = 10  # images of the mask gallery
QUERIES = 4  # rank lists per method
WIDTH, HEIGHT = 100, 200  # pixels of a picture; pedestrian crops are twice as high as wide
GAP, HEAD = 10, 24  # pixels between pictures, and for a line of text above one
MASKS_INCH, RANKS_INCH = 210, 165  # pixels
Visuals = dict[str, np.ndarray]
T = TypeVar("T")


def _visuals(run: Run) -> Visuals:
    path = run.folder / "visuals.npz"
    if not path.is_file():
        raise ScwmError(
            "the pictures of a run are missing", where=path, remedy="evaluate the run again"
        )
    with np.load(path) as stored:
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
    """Resize an image (H,W,3) uint8 to the size of a picture."""
    picture = Image.fromarray(image).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def part_colours(count: int) -> np.ndarray:
    """Return colours of the parts 1..count, RGB in 0..1, shape (count, 3)."""
    return np.array([to_rgb(PARTS[i % len(PARTS)]) for i in range(count)])


def enlarged(cells: np.ndarray) -> np.ndarray:
    """Enlarge cells (h,w) or (h,w,3), uint8, to the size of a picture, with sharp borders."""
    picture = Image.fromarray(cells).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)
    return np.asarray(picture)


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
    labels = enlarged(parts.astype(np.uint8)).astype(int)
    grey = picture.mean(axis=2, keepdims=True).repeat(3, axis=2)
    colours = np.vstack([np.ones(3), part_colours(max(int(labels.max()), 1))])
    strength = np.where(labels > 0, 0.62, 0.35)[..., None]
    return outlined((1 - strength) * grey + strength * colours[labels], labels)


def part_legend(figure: Figure | SubFigure, parts: int) -> None:
    """Draw the colours of the parts 1..parts below the figure."""
    colours = part_colours(parts)
    handles = [Patch(color=tuple(c), label=f"part {i}") for i, c in enumerate(colours, start=1)]
    figure.legend(handles=handles, loc="outside lower center", ncols=8, columnspacing=1.2)


def sheet(panel: Axes, rows: Sequence[Sequence[np.ndarray]], columns: int, head: int) -> None:
    """Draw rows of pictures as one, in a panel whose unit is a cell.

    Args:
        rows: pictures (HEIGHT, WIDTH, 3) uint8.
        head: pixels left free above each picture.
    """
    canvas = np.full((len(rows), head + HEIGHT + GAP, columns, WIDTH + GAP, 3), 255, dtype=np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            canvas[row, head : head + HEIGHT, column, GAP // 2 : GAP // 2 + WIDTH] = picture
    height, width = canvas.shape[0] * canvas.shape[1], canvas.shape[2] * canvas.shape[3]
    extent = (0, columns, len(rows), 0)
    panel.imshow(canvas.reshape(height, width, 3), extent=extent, aspect="auto")
    panel.set(xlim=(0, columns), ylim=(len(rows), 0), xticks=[], yticks=[])
    panel.grid(visible=False)
    for spine in panel.spines.values():
        spine.set_visible(False)


def mask_gallery(runs: Runs, partial: bool = False) -> Figure:
    """Draw images, true parts if known, and each method's predicted parts (first seed found).

    Methods without predicted parts have no row.
    """
    sheets: list[tuple[list[str], list[list[np.ndarray]]]] = []
    gaps, parts = list(runs.gaps), 1
    for dataset in runs.datasets:
        found, more = first_found(runs, dataset, runs.methods, _visuals, partial)
        gaps += more
        found = {method: v for method, v in found.items() if "mask_parts" in v}
        names: list[str] = []
        rows: list[list[np.ndarray]] = []
        for method, visuals in found.items():
            images = visuals["mask_images"][:COLUMNS]
            if not rows:
                names, rows = ["image"], [[resized(image) for image in images]]
                if "mask_truth" in visuals:
                    names.append("truth")
                    rows.append(list(map(overlay, images, visuals["mask_truth"])))
                    parts = max(parts, int(visuals["mask_truth"].max()))
            names.append(method)
            rows.append(list(map(overlay, images, visuals["mask_parts"])))
            parts = max(parts, int(visuals["mask_parts"].max()))
        sheets.append((names, rows))

    columns = max((len(rows[0]) for _, rows in sheets if rows), default=1)
    heights = [(HEIGHT + GAP) / MASKS_INCH * max(len(rows), 1) + 0.4 for _, rows in sheets]
    heights[-1] += 0.35
    width = max((WIDTH + GAP) / MASKS_INCH * columns + 1.9, 7.0)
    figure, strips = dataset_panels(runs.datasets, width, heights, gaps)
    for strip, (names, rows) in zip(strips, sheets, strict=True):
        panel = strip.subplots()
        if not rows:
            say(panel, "no run shown here predicts parts")
            continue
        sheet(panel, rows, columns, 0)
        panel.set_yticks(np.arange(len(names)) + 0.5, names)
        panel.tick_params(axis="y", length=0)
    part_legend(strips[-1], parts)
    return figure


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

    shapes = [v["rank_correct"][:QUERIES].shape for found in sheets for v in found.values()]
    columns = max((shape[1] for shape in shapes), default=10) + 1
    row_height = (HEAD + HEIGHT + GAP) / RANKS_INCH
    heights = [
        0.4 + sum(0.3 + row_height * len(v["rank_query"][:QUERIES]) for v in found.values())
        for found in sheets
    ]
    width = (WIDTH + GAP) / RANKS_INCH * columns + 0.4
    figure, strips = dataset_panels(runs.datasets, width, [max(h, 1.2) for h in heights], gaps)
    for strip, found in zip(strips, sheets, strict=True):
        panels = strip.subplots(max(len(found), 1), 1, squeeze=False)[:, 0]
        if not found:
            say(panels[0], "no run with rank lists")
        for panel, (method, visuals) in zip(panels, found.items(), strict=False):
            _rank_sheet(panel, visuals, columns)
            panel.set_title(method, loc="left", fontweight="bold")
    return figure


def _framed(image: np.ndarray, colour: str) -> np.ndarray:
    picture = resized(image).copy()
    edge = np.round(np.array(to_rgb(colour)) * 255).astype(np.uint8)
    for side in (np.s_[:6], np.s_[-6:], np.s_[:, :6], np.s_[:, -6:]):
        picture[side] = edge
    return picture


def _rank_sheet(panel: Axes, visuals: Visuals, columns: int) -> None:
    rows = []
    line = HEAD * 0.8 / (HEAD + HEIGHT + GAP)
    for query in range(min(QUERIES, len(visuals["rank_query"]))):
        pictures = [_framed(visuals["rank_query"][query], "#000000")]
        texts = [("query", "#000000")]
        names = ("rank_gallery", "rank_correct", "rank_score")
        for image, right, score in zip(*(visuals[name][query] for name in names), strict=True):
            if not np.isfinite(score):  # a gallery of fewer images than the list is long
                continue
            sign, colour = ("✓", RIGHT) if right else ("✗", WRONG)
            pictures.append(_framed(image, colour))
            texts.append((f"{sign} {score:.2f}", colour))
        rows.append(pictures)
        for column, (text, colour) in enumerate(texts):
            panel.text(column + 0.5, query + line, text, ha="center", fontsize=8, color=colour)
    sheet(panel, rows, columns, HEAD)

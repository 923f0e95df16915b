"""A figure of the stages of the parsing: one row per image, one column per stage."""

from collections.abc import Mapping, Sequence
from math import floor
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from scwm.reporting.figures.galleries import (
    GAP,
    HEIGHT,
    WIDTH,
    enlarged,
    outlined,
    overlay,
    part_legend,
    resized,
    sheet,
)
from scwm.reporting.figures.style import figure_style, write

INCH = 130  # pixels
LETTERS = 26  # of a file name
MAP = mpl.colormaps["magma"]


def draw_stages(names: Sequence[str], stages: Mapping[str, np.ndarray], out: Path) -> None:
    """Draw stages of parsing to `out`, .png or .svg.

    Args:
        names: names of N images.
        stages: titled columns: "image" (N,H,W,3) uint8, first; others (N,h,w): float in [0,1] is
            shown as a map, bool as a cut-out of the image, integers as parts.
    """
    shades = Normalize(min(floor(10 * stages["activation"].min()) / 10, 0.9), 1)
    columns = [
        [picture(*pair, shades) for pair in zip(stages["image"], column, strict=True)]
        for column in stages.values()
    ]
    parts = [int(c.max()) for c in stages.values() if c.ndim == 3 and c.dtype.kind in "iu"]
    labels = [shortened(name) for name in names]
    width = len(columns) * (WIDTH + GAP) / INCH + 0.07 * max(map(len, labels))
    height = len(names) * (HEIGHT + GAP) / INCH + 1.4
    with figure_style():
        figure = Figure(figsize=(width, height), layout="constrained")
        panel = figure.subplots()
        sheet(panel, list(zip(*columns, strict=True)), len(columns), 0)
        titles = [name.replace(" ", "\n") for name in stages]
        panel.set_xticks(np.arange(len(columns)) + 0.5, titles, fontsize=9)
        panel.set_yticks(np.arange(len(names)) + 0.5, labels, fontsize=8)
        panel.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        bar = figure.colorbar(
            ScalarMappable(shades, MAP),
            ax=panel,
            location="bottom",
            shrink=0.3,
            fraction=0.12 / height,
            pad=0.12 / height,
            label="activation",
        )
        bar.outline.set_visible(False)
        part_legend(figure, max(1, *parts))
        out.parent.mkdir(parents=True, exist_ok=True)
        write(figure, out)


def picture(image: np.ndarray, cells: np.ndarray, shades: Normalize) -> np.ndarray:
    """Draw one image at one stage, (H,W,3) uint8; `shades` maps floats to 0..1."""
    if cells.ndim == 3:
        return resized(cells)
    if cells.dtype.kind == "f":
        return enlarged(MAP(shades(cells), bytes=True)[..., :3], resized(image))
    if cells.dtype.kind == "b":
        return cut_out(image, cells)
    return overlay(image, cells)


def cut_out(image: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """Fade an image (H,W,3) uint8 to white outside the foreground (h,w)."""
    picture = resized(image) / 255
    labels = enlarged(foreground.astype(np.uint8), picture)
    strength = np.where(labels > 0, 1, 0.2)[..., None]
    return outlined(strength * picture + 1 - strength, labels)


def shortened(name: str) -> str:
    """Shorten a file name to its last `LETTERS` letters, which differ between files."""
    return name if len(name) <= LETTERS else "…" + name[1 - LETTERS :]

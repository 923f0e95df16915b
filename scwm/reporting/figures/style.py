"""The style of all figures: colours by family of methods, and files with stable bytes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import Any, Literal

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from scwm.core.config import split_variant
from scwm.core.files import whole_file
from scwm.reporting.runs import CONTROLS, Gap, with_ending

LineStyle = Literal["-"] | tuple[float, tuple[float, ...]]
# Dashes distinguish the members of a family, also in a black-and-white print.
LINES: tuple[LineStyle, ...] = (
    "-",
    (0, (5, 1.6)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
)
# Colours of Okabe and Ito (2008), distinct for readers with common colour blindness.
FAMILIES = {
    "#000000": ("scwm",),
    "#0072B2": ("no_foreground", "no_space", "no_corrections"),
    "#D55E00": ("uniform_memory", "hard_memory", "weighted_global_only", "weighted_part_only"),
    "#009E73": ("no_separation", "no_diversity"),
    "#CC79A7": ("stripes", "global_only", "bands"),
    "#56B4E9": ("cluster_contrast", "cluster_contrast_hard", "spcl", "spcl_parsed"),
    "#E69F00": ("ise", "ise_parsed"),
    "#5B3A8C": ("pplr", "pplr_parsed", "pplr_cameras"),
    "#8A8A8A": CONTROLS,
}
SPARE_COLOURS = ("#7A5C00", "#A0A000")
PARTS = ("#E69F00", "#0072B2", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#5B3A8C")
RIGHT, WRONG, MISSING = "#008A64", "#C62828", "#A4400C"
DPI = 150
LETTERS = 15  # of a small text to the inch
METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
}


def method_looks(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return line properties of each method, the same in every figure."""
    pairs: dict[str, tuple[str, LineStyle]] = {}
    for colour, family in FAMILIES.items():
        pairs |= {m: (colour, line) for m, line in zip(family, LINES, strict=False)}
    for method in methods:  # with one setting changed, it has the look of its base
        base = split_variant(method)[0]
        if base in pairs and base not in methods:
            pairs.setdefault(method, pairs[base])
    unknown = [method for method in methods if method not in pairs]
    spare = cycle((colour, line) for line in LINES for colour in SPARE_COLOURS)
    pairs |= dict(zip(unknown, spare, strict=False))
    return {
        m: {
            "color": pairs[m][0],
            "linestyle": pairs[m][1],
            "linewidth": 2.2 if m == "scwm" else 1.2,
        }
        for m in methods
    }


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the style of all figures; a fixed salt makes identifiers in an SVG reproducible."""
    settings = {
        **sns.axes_style("whitegrid"),
        **sns.plotting_context("paper", font_scale=1.1),
        "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
        "svg.hashsalt": "scwm",
        "grid.color": "#E3E3E3",
        "axes.edgecolor": "#808080",
        "axes.titlesize": 10,
        "axes.labelsize": 9,
        "legend.frameon": False,
    }
    with mpl.rc_context(settings):
        yield


def dataset_panels(
    datasets: Sequence[str], width: float, heights: Sequence[float], gaps: Sequence[Gap]
) -> tuple[Figure, list[SubFigure]]:
    """Make a figure with a titled strip per data set and a list of the gaps below.

    Args:
        datasets: names of the data sets.
        width: width of the figure, in inches.
        heights: height of each strip, in inches.
        gaps: missing runs; those of a method for one reason share a line.
    """
    seeds: dict[tuple[str, str, str], list[str]] = {}
    for gap in gaps:
        seeds.setdefault((gap.dataset, gap.method, gap.reason), []).append(str(gap.seed))
    lines = [
        f"Missing: {dataset} / {method} / seed{'s' * (len(own) > 1)} {', '.join(own)}: {reason}"
        for (dataset, method, reason), own in seeds.items()
    ]
    lines[8:] = [f"… and {len(lines) - 8} more lines"] if len(lines) > 8 else []
    told = "\n".join(fill(line, round(LETTERS * width)) for line in lines)
    foot = 0.25 + 0.16 * len(told.splitlines()) if told else 0.0
    figure = Figure(figsize=(width, sum(heights) + foot), layout="constrained")
    ratios = [*heights, foot] if foot else [*heights]
    strips = list(figure.subfigures(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0])
    if foot:
        strips.pop().text(0.01, 0.9, told, va="top", fontsize=7.5, color=MISSING)
    for strip, dataset in zip(strips, datasets, strict=True):
        strip.suptitle(dataset, fontsize=11, fontweight="bold", x=0.01, ha="left")
    return figure, strips


def say(panel: Axes, text: str) -> None:
    """Write a text into a panel without data."""
    panel.text(0.5, 0.5, text, ha="center", va="center", color="#606060", transform=panel.transAxes)
    panel.set_axis_off()


def save(figure: Figure, out: Path) -> list[Path]:
    """Write `out`.png and `out`.svg."""
    return [write(figure, with_ending(out, ending)) for ending in METADATA]


def write(figure: Figure, path: Path) -> Path:
    """Write one .png or .svg; without date or version, equal figures are equal files."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=DPI, metadata=METADATA[path.suffix])
    figure.set_layout_engine("none")  # laid out already, and the same in every file
    return path

"""Training and pseudo-label quality over the epochs, one panel per measure."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from pandas.api.typing import SeriesGroupBy

from scwm.core.measures import MEASURES
from scwm.reporting.figures.style import dataset_panels, method_looks
from scwm.reporting.runs import Runs

TRAINING = (
    *("loss", "loss_global", "loss_part", "loss_parsing", "loss_diversity", "loss_separation"),
    "learning_rate",
)
PSEUDO_LABELS = (
    *("clusters", "unclustered_share", "ari", "nmi"),
    *("label_foreground_iou", "label_part_miou", "label_misplaced_share"),
    *("mask_foreground_iou", "mask_part_miou", "effective_parts", "part_similarity"),
    *("global_wrong_ratio", "part_wrong_ratio", "global_hard_rank"),
)
LEGEND_COLUMNS = 5
LEGEND_LETTERS = 12.5  # to the inch; the line before a name takes the room of eight


def _histories(runs: Runs, columns: Sequence[str]) -> pd.DataFrame:
    keys = ["dataset", "method", "seed", "epoch", *columns]
    frames = [
        run.history.assign(dataset=run.dataset, method=run.method, seed=run.seed)
        for run in runs.found
        if len(run.history)
    ]
    history = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return history.reindex(columns=keys)


def curves(runs: Runs, columns: Sequence[str]) -> Figure:
    """Draw columns of the history per epoch: mean over seeds with a band."""
    history = _histories(runs, columns)
    for column in columns:
        history[column] *= MEASURES[column].scale
    trained = set(history.method[history[list(columns)].notna().any(axis=1)])
    methods = [method for method in runs.methods if method in trained]
    looks = method_looks(methods)

    across = 4 if len(columns) > 6 else 3
    down = ceil(len(columns) / across)
    heights = [2.0 * down + 0.4] * len(runs.datasets)
    longest = max(map(len, methods), default=0) + 8
    columns_of_legend = max(1, min(LEGEND_COLUMNS, int(2.85 * across * LEGEND_LETTERS // longest)))
    heights[-1] += 0.22 * ceil(len(methods) / columns_of_legend)
    figure, strips = dataset_panels(runs.datasets, 2.85 * across, heights, runs.gaps)
    for dataset, strip in zip(runs.datasets, strips, strict=True):
        own = history[history.dataset == dataset]
        panels = list(strip.subplots(down, across, squeeze=False).flat)
        for panel, column in zip(panels, columns, strict=False):
            panel.set_title(MEASURES[column].axis)
            known = own.dropna(subset=[column])
            if known.empty:
                _empty(panel)
                continue
            for method, rows in known.groupby("method"):
                _band(panel, rows.groupby("epoch")[column], looks[str(method)])
            panel.set_xlabel("Epoch")
            panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            panel.margins(x=0.02)
        for panel in panels[len(columns) :]:
            panel.set_axis_off()
    if methods:
        handles = [Line2D([], [], label=method, **looks[method]) for method in methods]
        strips[-1].legend(
            handles=handles, loc="outside lower center", ncols=columns_of_legend, handlelength=3.2
        )
    return figure


def _band(panel: Axes, values: "SeriesGroupBy[Any, Any]", look: dict[str, Any]) -> None:
    """Draw the mean over the seeds as a line (or a dot) and one standard deviation as a band."""
    mean, spread = values.mean(), values.std().fillna(0)
    front = look["color"] == "#000000"
    marker = "o" if len(mean) == 1 else ""
    panel.plot(mean.index, mean, marker=marker, zorder=3 if front else 2, **look)
    if spread.any():
        low, high = mean - spread, mean + spread
        panel.fill_between(mean.index, low, high, color=look["color"], alpha=0.13, linewidth=0)


def _empty(panel: Axes) -> None:
    panel.text(0.5, 0.5, "not applicable", ha="center", va="center", color="#606060")
    panel.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])

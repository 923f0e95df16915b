"""mAP against the value of one setting at a time."""

from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from scwm.core.config import split_variant
from scwm.core.measures import MEASURES
from scwm.reporting.catalogue import REFERENCE
from scwm.reporting.figures.style import dataset_panels, say
from scwm.reporting.runs import Runs
from scwm.reporting.tables.tables import setting_value

MAP = MEASURES["mAP"]
LINE, DEFAULT = "#0072B2", "#D55E00"
WIDE = 8  # largest value over least one from which the axis is logarithmic
CLOSE = 0.12  # share of the axis between two values below which their labels are turned
ACROSS = 2


def sweep_scores(runs: Runs) -> pd.DataFrame:
    """Collect mAP in percent of each run of `REFERENCE` and its variants, once for each setting.

    Returns:
        columns dataset, setting, value, seed, mAP, default (bool: the plain method, which is in
        every setting, at the value of its own config). Values that are no numbers are left out.
    """
    variants = {run.method: split_variant(run.method) for run in runs.found}
    rows = []
    for run in runs.found:
        base, setting, value = variants[run.method]
        if base != REFERENCE or run.metrics["mAP"] is None:
            continue
        mine = {setting: value}
        if not setting:
            swept = dict.fromkeys(s for name, s, _ in variants.values() if name == base and s)
            mine = {s: setting_value(run.config, s) for s in swept}
        for name, own in mine.items():
            row = (run.dataset, name, own, run.seed, MAP.scale * run.metrics["mAP"], not setting)
            rows.append(row)
    columns = ["dataset", "setting", "value", "seed", "mAP", "default"]
    scores = pd.DataFrame(rows, columns=columns)
    scores["value"] = pd.to_numeric(scores["value"], errors="coerce")
    return scores.dropna(subset=["value"])


def sweep_curves(runs: Runs) -> Figure:
    """Draw a panel for each setting: the mean over the seeds with a band, and each seed's point.

    The band has one standard deviation; a mark shows the value of the plain method.
    """
    scores = sweep_scores(runs)
    settings = list(dict.fromkeys(scores.setting[~scores.default]))
    down = ceil(len(settings) / ACROSS)
    heights = [2.3 * down + 0.35 if down else 1.2] * len(runs.datasets)
    heights[-1] += 0.3
    gaps = [gap for gap in runs.gaps if split_variant(gap.method)[0] == REFERENCE]
    width = max(2.9 * min(ACROSS, len(settings)), 5.8)  # a legend fits below
    figure, strips = dataset_panels(runs.datasets, width, heights, gaps)
    for dataset, strip in zip(runs.datasets, strips, strict=True):
        own = scores[scores.dataset == dataset]
        if not settings:
            say(strip.subplots(), f"no run of {REFERENCE} with a setting changed")
            continue
        panels = strip.subplots(down, min(ACROSS, len(settings)), sharey=True, squeeze=False)
        for panel, setting in zip(panels.flat, settings, strict=False):
            _panel(panel, own[own.setting == setting], setting)
        for panel in panels[:, 0]:
            panel.set_ylabel(MAP.axis)
        for panel in panels.flat[len(settings) :]:
            panel.set_axis_off()
    if settings:
        handles = [
            Line2D([], [], color=LINE, marker=".", label="mean over the seeds"),
            Patch(color=LINE, alpha=0.15, linewidth=0, label="± one standard deviation"),
            Line2D([], [], **_POINT, label="one seed"),
            Line2D([], [], **_DEFAULT, label=f"{REFERENCE} as it is"),
        ]
        strips[-1].legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


_POINT: dict[str, Any] = {
    **{"linestyle": "", "marker": "o", "markersize": 4},
    **{"markerfacecolor": "white", "markeredgecolor": "#303030", "markeredgewidth": 0.8},
}
_DEFAULT: dict[str, Any] = {
    "linestyle": (0, (4, 3)),
    "color": DEFAULT,
    "marker": "D",
    "markersize": 5.5,
}


def _panel(panel: Axes, scores: pd.DataFrame, setting: str) -> None:
    panel.set_title(setting)
    if scores.empty:
        say(panel, "no run")
        return
    grouped = scores.groupby("value")["mAP"]
    mean, spread = grouped.mean(), grouped.std().fillna(0)
    values = mean.index.to_numpy(dtype=float)
    panel.fill_between(values, mean - spread, mean + spread, color=LINE, alpha=0.15, linewidth=0)
    panel.plot(values, mean, color=LINE, linewidth=1.6, marker=".")
    panel.plot(scores.value, scores.mAP, **_POINT)
    usual = scores.loc[scores.default, "value"].unique()
    for value in usual:
        panel.axvline(value, color=DEFAULT, linestyle=_DEFAULT["linestyle"], linewidth=1, zorder=1)
        panel.plot(value, mean[value], **_DEFAULT, zorder=4)
    places = values
    if values[0] > 0 and values[-1] / values[0] >= WIDE:
        panel.set_xscale("log")
        places = np.log(values)
    panel.set_xticks(values, [f"{value:g}" for value in values], fontsize=8)
    panel.set_xticks([], minor=True)
    if np.diff(places).min(initial=np.inf) < CLOSE * np.ptp(places):
        panel.tick_params(axis="x", labelrotation=45)

"""Scores of the memories' weights by temperature, from the runs' study.json."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scwm.core.measures import MEASURES
from scwm.reporting.catalogue import REFERENCE
from scwm.reporting.figures.style import dataset_panels, say
from scwm.reporting.runs import Gap, Run, Runs, read_scores

MEMORIES = ("global", "part")
COLUMNS = ("global_wrong_ratio", "part_wrong_ratio", "global_hard_rank", "part_hard_rank")
LOOKS: dict[str, dict[str, Any]] = {
    "hard_mining": {"color": "#D55E00", "linestyle": "-", "marker": "o"},
    "noise_suppression": {"color": "#0072B2", "linestyle": (0, (5, 1.6)), "marker": "s"},
    "hardest": {"color": "#7A5C00", "linestyle": (0, (1.2, 1.2))},
    "uniform": {"color": "#505050", "linestyle": (0, (6, 1.5, 1.2, 1.5))},
}


def study_weights(runs: Runs) -> tuple[pd.DataFrame, list[Gap]]:
    """The weights' scores in every study of `REFERENCE`, and the runs without one.

    Returns:
        columns dataset, seed, strategy, tau (NaN: has none), and those of `COLUMNS`.
    """
    rows, gaps = [], []
    for run in runs.found:
        if run.method != REFERENCE:
            continue
        try:
            memory = read_scores(run, "study.json")["memory"]
        except LookupError:
            gaps.append(Gap(run.dataset, run.method, run.seed, "no study of its memories"))
            continue
        fixed = (
            {"strategy": name, **scores}
            for name, scores in memory["strategies"].items()
            if name in ("uniform", "hardest")
        )
        rows += [{"dataset": run.dataset, "seed": run.seed, **row} for row in fixed]
        rows += [{"dataset": run.dataset, "seed": run.seed, **row} for row in memory["sweep"]]
    table = pd.DataFrame(rows, columns=["dataset", "seed", "strategy", "tau", *COLUMNS])
    return table.astype(dict.fromkeys(["tau", *COLUMNS], float)), gaps


def weight_curves(runs: Runs) -> Figure:
    """Draw the weight of wrong samples and the rank of hard samples against the temperature.

    The weight is divided by its value under equal weights. Each panel shows the mean over the
    seeds and each seed's point; horizontal lines belong to strategies without a temperature.
    """
    studies, gaps = study_weights(runs)
    gaps = [*(gap for gap in runs.gaps if gap.method == REFERENCE), *gaps]
    known = set(studies.dropna(subset=[*COLUMNS], how="all").dataset)
    heights = [4.6 if dataset in known else 1.2 for dataset in runs.datasets]
    heights[-1] += 0.5
    figure, strips = dataset_panels(runs.datasets, 5.8, heights, gaps)
    for dataset, strip in zip(runs.datasets, strips, strict=True):
        if dataset not in known:
            say(strip.subplots(), f"no study of {REFERENCE} with known identities")
            continue
        own = studies[studies.dataset == dataset]
        taus = {memory: _taus(runs.of(dataset, REFERENCE), memory) for memory in MEMORIES}
        for panel, column in zip(strip.subplots(2, 2).flat, COLUMNS, strict=True):
            _panel(panel, own, column, taus[column.partition("_")[0]])
            panel.set_title(MEASURES[column].title.replace(", ", ",\n"))
    if known:
        handles = [
            Line2D([], [], label=strategy.replace("_", " "), **look)
            for strategy, look in LOOKS.items()
        ]
        handles.append(Line2D([], [], **_OWN, label=f"τ of {REFERENCE}"))
        strips[-1].legend(handles=handles, loc="outside lower center", ncols=3, handlelength=3.2)
    return figure


_OWN: dict[str, Any] = {"color": "#009E73", "linewidth": 4, "alpha": 0.3}


def _taus(runs: list[Run], memory: str) -> set[float]:
    return {run.config["memory"][f"{memory}_tau"] for run in runs}


def _panel(panel: Axes, studies: pd.DataFrame, column: str, taus: set[float]) -> None:
    for tau in taus:
        panel.axvline(tau, **_OWN, zorder=0)
    for strategy, look in LOOKS.items():
        own = studies[studies.strategy == strategy].dropna(subset=[column])
        if own.empty:
            continue
        if own.tau.isna().all():
            panel.axhline(own[column].mean(), linewidth=1.3, **look)
            continue
        means = own.groupby("tau")[column].mean()
        panel.plot(means.index, means, linewidth=1.6, markersize=4.5, **look)
        panel.scatter(own.tau, own[column], s=9, facecolor="white", edgecolor=look["color"],
                      linewidth=0.7, zorder=3)  # fmt: skip
    panel.set_xscale("log")
    values = sorted(studies.tau.dropna().unique())
    panel.set_xticks(values, [f"{value:g}" for value in values])
    panel.set_xticks([], minor=True)
    panel.set_xlabel("Temperature τ of the weights")

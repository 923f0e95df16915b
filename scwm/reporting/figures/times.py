"""Time of a run by stage."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from scwm.core.measures import MEASURES
from scwm.reporting.figures.style import dataset_panels
from scwm.reporting.runs import CONTROLS, Run, Runs

STAGES = {
    "features": "#56B4E9",
    "pseudo_labels": "#E69F00",
    "parsing": "#009E73",
    "training": "#0072B2",
    "evaluate": "#CC79A7",
    "rest": "#BDBDBD",
}
UNITS = (("h", 3600, 4 * 3600), ("min", 60, 600), ("s", 1, 0))
"""Name, seconds, and the longest run from which it is used."""


def stage_seconds(runs: Runs) -> pd.DataFrame:
    """Collect seconds of each run by stage: columns dataset, method, seed and `STAGES`."""
    rows = [{"dataset": r.dataset, "method": r.method, "seed": r.seed, **_seconds(r)}
            for r in runs.found]  # fmt: skip
    return pd.DataFrame(rows, columns=["dataset", "method", "seed", *STAGES])


def _seconds(run: Run) -> dict[str, float]:
    epochs = {stage: f"seconds_{stage}" for stage in STAGES}
    known = {
        stage: float(run.history[column].sum())
        for stage, column in epochs.items()
        if column in run.history
    }
    known["evaluate"] = float(run.provenance.get("seconds_evaluate") or 0)
    total = float(run.provenance.get("seconds") or 0)
    return {**known, "rest": max(total - sum(known.values()), 0.0)}


def time_bars(runs: Runs) -> Figure:
    """Draw a bar per method, stacked by stage: mean over the seeds, with the total at the end."""
    order = sorted(runs.methods, key=lambda method: method in CONTROLS)
    means = stage_seconds(runs).groupby(["dataset", "method"])[[*STAGES]].mean().to_dict("index")
    longest = max((sum(stages.values()) for stages in means.values()), default=0.0)
    unit, seconds, _ = next(one for one in UNITS if longest >= one[2])
    heights = [0.25 * len(order) + 0.9] * len(runs.datasets)
    heights[-1] += 0.45
    figure, strips = dataset_panels(runs.datasets, 5.6, heights, runs.gaps)
    for dataset, strip in zip(runs.datasets, strips, strict=True):
        panel = strip.subplots()
        panel.set(xlabel=f"Time of a run ({unit})", ylim=(len(order) - 0.5, -0.5))
        panel.set_yticks(range(len(order)), order)
        panel.grid(axis="y", visible=False)
        ends = []
        for row, method in enumerate(order):
            if (dataset, method) not in means:
                panel.text(0, row, " missing", va="center", fontsize=8, color="#A4400C")
                continue
            end = 0.0
            for stage, spent in means[dataset, method].items():
                width = spent / seconds
                panel.barh(row, width, left=end, height=0.75, color=STAGES[str(stage)],
                           edgecolor="white", linewidth=0.4)  # fmt: skip
                end += width
            panel.annotate(f"{end:.1f}" if seconds > 1 else f"{end:.0f}", (end, row),
                           (3, 0), textcoords="offset points", va="center", fontsize=8)  # fmt: skip
            ends.append(end)
        panel.set_xlim(0, 1.08 * max(ends, default=1.0) or 1.0)
    titles = {key: MEASURES[f"seconds_{key}"].title for key in STAGES if key != "rest"}
    handles = [Patch(color=c, label=titles.get(key, "Rest")) for key, c in STAGES.items()]
    strips[-1].legend(handles=handles, loc="outside lower center", ncols=3, columnspacing=1)
    return figure

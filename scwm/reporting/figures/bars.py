"""mAP of every method as bars, with each seed's point."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scwm.core.measures import MEASURES
from scwm.reporting.catalogue import REFERENCE
from scwm.reporting.figures.style import dataset_panels, say
from scwm.reporting.runs import CONTROLS, Runs

MAP = MEASURES["mAP"]
FULL, ABLATION, CONTROL = "#0072B2", "#7FB2D6", "#C4C4C4"


def ablation_bars(runs: Runs) -> Figure:
    """Draw mean mAP per method, an error bar of one standard deviation, and a point per seed.

    The dashed line marks the full method; controls are grey; a method without a score is labelled.
    """
    order = sorted(runs.methods, key=lambda m: (m in CONTROLS, m != REFERENCE))
    scores = pd.DataFrame(
        [
            (run.dataset, run.method, run.seed, MAP.scale * score)
            for run in runs.found
            if (score := run.metrics["mAP"]) is not None
        ],
        columns=["dataset", "method", "seed", "mAP"],
    )
    heights = [0.27 * len(order) + 0.9] * len(runs.datasets)
    figure, strips = dataset_panels(runs.datasets, 5.6, heights, runs.gaps)
    for dataset, strip in zip(runs.datasets, strips, strict=True):
        panel, own = strip.subplots(), scores[scores.dataset == dataset]
        if own.empty and runs.of(dataset):
            say(panel, "not scored: no identities")
        else:
            _bars(panel, own, order)
    return figure


def _bars(panel: Axes, scores: pd.DataFrame, order: list[str]) -> None:
    colours = {m: CONTROL if m in CONTROLS else ABLATION for m in order} | {REFERENCE: FULL}
    if len(scores):
        sns.barplot(
            scores,
            x="mAP",
            y="method",
            order=order,
            hue="method",
            hue_order=order,
            palette={method: colours[method] for method in order},
            saturation=1,
            errorbar="sd",
            capsize=0.3,
            err_kws={"color": "#303030", "linewidth": 1.1},
            legend=False,
            ax=panel,
        )
    grouped = scores.groupby("method")["mAP"]
    means, spreads, tops = grouped.mean(), grouped.std().fillna(0), grouped.max()
    reach = max([*tops, *(means + spreads)], default=1.0) or 1.0
    for row, method in enumerate(order):
        if method not in means:
            panel.text(reach * 0.01, row, "missing", va="center", fontsize=8, color="#A4400C")
            continue
        seeds = scores.loc[scores.method == method, "mAP"]
        panel.scatter(seeds, [row] * len(seeds), s=14, color="white", edgecolor="black", zorder=5)
        end = max(tops[method], means[method] + spreads[method])
        panel.annotate(
            *(f"{means[method]:.1f}", (end, row), (5, 0)),
            textcoords="offset points",  # beside the last seed's point, whatever the scale
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            zorder=6,
        )
    if REFERENCE in means:
        panel.axvline(means[REFERENCE], color=FULL, linestyle=(0, (4, 3)), linewidth=1, zorder=2)
    panel.set(xlabel=MAP.axis, ylabel="", xlim=(0, reach * 1.18), yticks=range(len(order)))
    panel.set_yticklabels(order)
    panel.set_ylim(len(order) - 0.5, -0.5)
    panel.grid(axis="y", visible=False)

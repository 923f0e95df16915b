"""The drawing function of each figure."""

from collections.abc import Callable

from matplotlib.figure import Figure

from scwm.reporting.figures import (
    bars,
    curves,
    forest,
    galleries,
    sweeps,
    times,
    tsne,
    weights,
)
from scwm.reporting.runs import Runs
from scwm.reporting.tables import claims


def _claims(runs: Runs) -> Figure:
    return forest.forest_plot(claims.evaluate_claims(claims.load_claims(), runs), runs)


FIGURES: dict[str, Callable[[Runs, bool], Figure]] = {
    "claims": lambda runs, partial: _claims(runs),
    "ablation": lambda runs, partial: bars.ablation_bars(runs),
    "transfer": lambda runs, partial: bars.ablation_bars(runs),
    "sweeps": lambda runs, partial: sweeps.sweep_curves(runs),
    "weights": lambda runs, partial: weights.weight_curves(runs),
    "curves": lambda runs, partial: curves.curves(runs, curves.TRAINING),
    "pseudo_labels": lambda runs, partial: curves.curves(runs, curves.PSEUDO_LABELS),
    "masks": galleries.mask_gallery,
    "ranks": galleries.rank_lists,
    "tsne": tsne.tsne_panels,
    "time": lambda runs, partial: times.time_bars(runs),
}
"""Of each name in `scwm.reporting.catalogue.PLOTS`: draws the runs; where `partial`, without their
missing files."""

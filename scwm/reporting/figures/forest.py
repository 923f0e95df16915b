"""The claims as a forest plot: effect and interval, one row per claim."""

from itertools import accumulate
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scwm.reporting.claim_groups import grouped
from scwm.reporting.figures.style import MISSING, RIGHT, WRONG, dataset_panels
from scwm.reporting.runs import Runs
from scwm.reporting.tables.claims import Outcome

COLOURS = {"held": RIGHT, "refuted": WRONG, "undecided": "#505050", "one seed": "#505050"}
UNITS = {100.0: "Effect (points)", 1.0: "Effect (unit of the measure)"}
WIDTH, LINE = 5.2, 0.16  # inches; the height of a line of text is the unit of an axis
LETTERS = 62  # of a line of a statement
EFFECT, GAP = 1.0, 0.3  # lines for the effect below a statement, and between two claims
MARGIN = 0.85  # inches for an axis and its label
GROUND: dict[str, Any] = {  # of a text, above the grid and below the effects
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    "zorder": 1.5,
}


def forest_plot(outcomes: list[Outcome], runs: Runs) -> Figure:
    """Draw the mean effect over the seeds with its 95 % interval; a tick marks the required value.

    Claims in points and claims in other units have separate axes, each in reading order, a claim's
    statement above its effect. Required claims are bold. An interval that exceeds the axis ends in
    an arrow; a claim without a run is labelled.
    """
    ordered = [o for own in grouped((o.claim.name, o) for o in outcomes).values() for o in own]
    panels = {
        (dataset, scale): [o for o in ordered if (o.dataset, o.claim.scale) == (dataset, scale)]
        for dataset in runs.datasets
        for scale in UNITS
    }
    panels = {key: own for key, own in panels.items() if own}
    heights = {key: LINE * sum(map(_lines, own)) + MARGIN for key, own in panels.items()}
    strips_at = [
        sum(height for (name, _), height in heights.items() if name == dataset) or MARGIN
        for dataset in runs.datasets
    ]
    strips_at[-1] += 0.5
    figure, strips = dataset_panels(runs.datasets, WIDTH, strips_at, runs.gaps)
    for dataset, strip in zip(runs.datasets, strips, strict=True):
        own = {scale: o for (name, scale), o in panels.items() if name == dataset}
        if not own:
            continue
        ratios = [heights[dataset, scale] for scale in own]
        axes = strip.subplots(len(own), 1, squeeze=False, gridspec_kw={"height_ratios": ratios})
        for axis, (scale, found) in zip(axes.flat, own.items(), strict=True):
            _panel(axis, found, scale)
    marks = [
        Line2D([], [], color=colour, marker="o", label=verdict, linewidth=1.6)
        for verdict, colour in COLOURS.items()
        if verdict != "one seed"
    ]
    marks.append(
        Line2D([], [], color=COLOURS["one seed"], marker="o", markerfacecolor="white",
               linestyle="", label="one seed: no interval")
    )  # fmt: skip
    marks.append(Line2D([], [], color="#0072B2", marker="|", markersize=10, linestyle="",
                        label="at least"))  # fmt: skip
    strips[-1].legend(handles=marks, loc="outside lower center", ncols=3)
    return figure


def _panel(axis: Axes, outcomes: list[Outcome], scale: float) -> None:
    known = [scale * abs(o.effect) for o in outcomes if o.effect is not None]
    asked = [scale * abs(o.claim.at_least) for o in outcomes]
    reach = 2 * max([*known, *asked, 1e-3 * scale])
    feet = list(accumulate(map(_lines, outcomes)))
    for foot, outcome in zip(feet, outcomes, strict=True):
        axis.text(
            *(0.01, foot - GAP - EFFECT, _written(outcome)),
            transform=axis.get_yaxis_transform(), fontsize=8.5, va="bottom", **GROUND,
            fontweight="bold" if outcome.claim.kind == "required" else "normal",
        )  # fmt: skip
        _effect(axis, outcome, scale, foot - GAP - EFFECT / 2, reach)
    axis.axvline(0, color="#303030", linewidth=1, zorder=1)
    axis.set(xlim=(-reach, reach), ylim=(feet[-1], -GAP), xlabel=UNITS[scale], yticks=[])
    axis.grid(axis="y", visible=False)


def _written(outcome: Outcome) -> str:
    return fill(outcome.claim.statement.replace("`", ""), LETTERS)


def _lines(outcome: Outcome) -> float:
    """Height of a claim: its statement above its effect, so that the figure fits a phone."""
    return _written(outcome).count("\n") + 1 + EFFECT + GAP


def _effect(axis: Axes, outcome: Outcome, scale: float, place: float, reach: float) -> None:
    """Draw the effect and interval of a claim at a height, or why it has none."""
    asked = scale * outcome.claim.at_least
    if outcome.effect is None:
        axis.text(
            *(0.01, place, outcome.missing[0] if outcome.missing else "not run"),
            transform=axis.get_yaxis_transform(), va="center", fontsize=7.5, color=MISSING,
            **GROUND,
        )  # fmt: skip
        return
    axis.plot(asked, place, marker="|", markersize=10, color="#0072B2")
    colour = COLOURS[outcome.verdict]
    if outcome.interval:
        low, high = (scale * end for end in outcome.interval)
        axis.plot([max(low, -reach), min(high, reach)], [place] * 2, color=colour, linewidth=1.6)
        for end, marker in ((low, "<"), (high, ">")):
            if abs(end) > reach:
                axis.plot(reach if end > 0 else -reach, place, marker=marker, color=colour,
                          clip_on=False)  # fmt: skip
    axis.plot(
        *(scale * outcome.effect, place),
        marker="o", color=colour, markerfacecolor=colour if outcome.interval else "white",
    )  # fmt: skip

"""The claims as a forest plot: effect and interval, one row per claim."""

from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scwm.reporting.claim_groups import grouped
from scwm.reporting.figures.style import RIGHT, WRONG, dataset_panels
from scwm.reporting.runs import Runs
from scwm.reporting.tables.claims import Outcome

COLOURS = {"held": RIGHT, "refuted": WRONG, "undecided": "#505050", "one seed": "#505050"}
MISSING = "#A4400C"
UNITS = {100.0: "Effect (points)", 1.0: "Effect (unit of the measure)"}
ROW = 0.36  # inches
LETTERS = 48  # of a line of a statement
MARGIN = 0.85  # inches for an axis and its label


def forest_plot(outcomes: list[Outcome], runs: Runs) -> Figure:
    """Draw the mean effect over the seeds with its 95 % interval; a tick marks the required value.

    Claims in points and claims in other units have separate axes, each in reading order. Required
    claims are bold. An interval that exceeds the axis ends in an arrow; a claim without a run is
    labelled.
    """
    ordered = [o for own in grouped((o.claim.name, o) for o in outcomes).values() for o in own]
    panels = {
        (dataset, scale): [o for o in ordered if (o.dataset, o.claim.scale) == (dataset, scale)]
        for dataset in runs.datasets
        for scale in UNITS
    }
    panels = {key: own for key, own in panels.items() if own}
    heights = {key: ROW * len(own) + MARGIN for key, own in panels.items()}
    strips_at = [
        sum(height for (name, _), height in heights.items() if name == dataset) or MARGIN
        for dataset in runs.datasets
    ]
    strips_at[-1] += 0.5
    figure, strips = dataset_panels(runs.datasets, 6.8, strips_at, runs.gaps)
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
    for row, outcome in enumerate(outcomes):
        axis.plot(scale * outcome.claim.at_least, row, marker="|", markersize=12, color="#0072B2")
        if outcome.effect is None:
            axis.text(
                *(reach * 0.02, row, outcome.missing[0] if outcome.missing else "not run"),
                va="center", fontsize=7.5, color=MISSING,
            )  # fmt: skip
            continue
        colour = COLOURS[outcome.verdict]
        if outcome.interval:
            low, high = (scale * end for end in outcome.interval)
            axis.plot([max(low, -reach), min(high, reach)], [row, row], color=colour, linewidth=1.6)
            for end, marker in ((low, "<"), (high, ">")):
                if abs(end) > reach:
                    axis.plot(reach if end > 0 else -reach, row, marker=marker, color=colour,
                              clip_on=False)  # fmt: skip
        axis.plot(
            *(scale * outcome.effect, row),
            marker="o", color=colour, markerfacecolor=colour if outcome.interval else "white",
        )  # fmt: skip
    axis.axvline(0, color="#303030", linewidth=1)
    axis.set(xlim=(-reach, reach), ylim=(len(outcomes) - 0.5, -0.5), xlabel=UNITS[scale])
    statements = [fill(o.claim.statement.replace("`", ""), LETTERS) for o in outcomes]
    axis.set_yticks(range(len(outcomes)), statements, fontsize=7.5)
    for label, outcome in zip(axis.get_yticklabels(), outcomes, strict=True):
        label.set_fontweight("bold" if outcome.claim.kind == "required" else "normal")
    axis.grid(axis="y", visible=False)

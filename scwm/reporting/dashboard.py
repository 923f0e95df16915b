"""The history of trainings as one HTML file, without a library or a network."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from scwm.core.errors import ScwmError
from scwm.core.files import write_text
from scwm.core.measures import MEASURES, Measure
from scwm.reporting.figures.curves import PSEUDO_LABELS, TRAINING
from scwm.reporting.markup import render

SECONDS = ("seconds_training", "seconds_features", "seconds_pseudo_labels", "seconds_parsing")
SECTIONS = {"Training": TRAINING, "Pseudo labels and parts": PSEUDO_LABELS, "Time": SECONDS}
LINES = 6  # looks of runs; a seventh would look like the first
LEFT, RIGHT, TOP, BOTTOM = 54, 294, 8, 148  # frame of a panel of 300 by 170, in its own units
FRAME = {"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}


def write_dashboard(runs: list[Path], out: Path) -> None:
    """Draw measures of history.csv over the epochs, for one run or several.

    Args:
        runs: folders of trainings, finished or running, at most LINES.
        out: the page.

    Raises:
        ScwmError: there are too many runs, or a run has no history.csv or no training.
    """
    if len(runs) > LINES:
        raise ScwmError(f"{len(runs)} runs; a page shows {LINES}.", "RUN", "make several pages")
    histories = dict(zip(_names(runs), map(_read, runs), strict=True))
    sections = {section: draw_panels(histories, names) for section, names in SECTIONS.items()}
    page = render(
        "reporting/templates/dashboard.html",
        title=f"Training of {', '.join(histories)}",
        histories={name: _listed(run) for name, run in histories.items()},
        sections=sections,
        frame=FRAME,
    )
    write_text(page, out)


def _names(runs: list[Path]) -> list[str]:
    """Name each run by the end of its path, long enough to distinguish them."""
    paths = [run.resolve().parts for run in runs]
    for length in range(2, max(map(len, paths)) + 1):
        names = ["/".join(path[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise ScwmError("A run is given twice.", names[0], "give each run once")


def _read(run: Path) -> pd.DataFrame:
    file = run / "history.csv"
    if not file.exists():
        raise ScwmError("The run has no history.csv.", run, "train the run first")
    try:
        history = pd.read_csv(file)
    except ValueError as error:  # also of an empty file
        raise ScwmError(f"The history is damaged: {error}", file, "train the run again") from error
    if history.empty:
        raise ScwmError("The run has no epochs: it is a control, not trained.", run)
    history = history.dropna(axis="columns", how="all")
    words = [*history.select_dtypes(exclude="number"), *({"epoch"} - {*history})]
    if words:
        what = f"The history is damaged: not every {words[0]} is a number."
        raise ScwmError(what, file, "train the run again")
    return history


def _listed(history: pd.DataFrame) -> pd.DataFrame:
    """Format a history as texts, below the headings of its measures."""
    titles = {key: MEASURES[key].heading for key in history if key in MEASURES}
    return history.map("{:.4g}".format).rename(columns={"epoch": "Epoch"} | titles)


def draw_panels(histories: dict[str, pd.DataFrame], columns: Iterable[str]) -> list[dict[str, Any]]:
    """Draw the measures that any of the named histories has; a history has a column `epoch`."""
    known = {column for history in histories.values() for column in history}
    return [_panel(histories, MEASURES[column]) for column in columns if column in known]


def _panel(histories: dict[str, pd.DataFrame], measure: Measure) -> dict[str, Any]:
    """Draw one measure: its lines by the runs' places, and the bounds of its frame."""
    known = {
        number: (name, history[["epoch", measure.key]].dropna().to_numpy())
        for number, (name, history) in enumerate(histories.items())
        if measure.key in history
    }
    values = [value for _, points in known.values() for value in points[:, 1]]
    low, high = min(values), max(values)
    last = max(2, *(int(points[:, 0].max()) for _, points in known.values()))

    def place(epoch: float, value: float) -> str:
        x = LEFT + (RIGHT - LEFT) * (epoch - 1) / (last - 1)
        y = TOP + (BOTTOM - TOP) * (1 - (value - low) / ((high - low) or 1))
        return f"{x:.1f} {y:.1f}"

    paths, words = {}, []
    for number, (name, points) in known.items():
        corners = [place(*point) for point in points]
        paths[number] = "M" + " L".join(corners if len(corners) > 1 else corners * 2)
        words.append(f"{name} from {points[0][1]:.4g} to {points[-1][1]:.4g}")
    return {
        "title": measure.heading,
        "alt": f"{measure.heading} over {last} epochs: {'; '.join(words)}",
        "low": _short(low),
        "high": _short(high),
        "last": last,
        "paths": paths,
    }


def _short(value: float) -> str:
    """Format a number in at most seven characters, which fit next to a panel."""
    text = f"{value:.3g}"
    return text if len(text) <= 7 else f"{value:.1g}"

"""The history of trainings as a page to look at: one file, drawn without a library or a network."""

from html import escape
from pathlib import Path

import pandas as pd

from scwm.core.errors import ScwmError
from scwm.core.files import whole_file
from scwm.reporting.figures.curves import PSEUDO_LABELS, TRAINING
from scwm.reporting.markup import html_page, html_rows

SECONDS = {
    "seconds_training": "Steps (seconds)",
    "seconds_features": "Features (seconds)",
    "seconds_pseudo_labels": "Pseudo labels (seconds)",
    "seconds_parsing": "Part labels (seconds)",
}
SECTIONS = {"Training": TRAINING, "Pseudo labels and parts": PSEUDO_LABELS, "Time": SECONDS}
LINES = 6  # looks of runs; a seventh would look like the first
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 300, 170, 54, 8, 22  # of a panel, in its own units
STYLE = """
:root { --c0: #0072b2; --c1: #b34700; --c2: #00734f; --c3: #a33b7d; --c4: #5b3a8c; --c5: #7a5c00; }
@media (prefers-color-scheme: dark) { :root { --c0: #56b4e9; --c1: #ff9e5e; --c2: #4fd1a5;
  --c3: #f29fd0; --c4: #b9a3e8; --c5: #e0c060; } }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr));
  gap: 1rem; }
.panels figure { margin: 0; } .panels svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 11px; } svg .frame { stroke: var(--line); fill: none; }
svg .run { fill: none; stroke-width: 2; } .key { list-style: none; padding: 0; display: flex;
  flex-wrap: wrap; gap: .3rem 1.2rem; } .key svg { width: 2.2rem; height: .8rem; }
""" + "\n".join(
    f".l{i} {{ stroke: var(--c{i}); fill: var(--c{i}); stroke-dasharray: {dash}; }}"
    for i, dash in enumerate(("none", "7 3", "2 3", "9 3 2 3", "none", "7 3"))
)


def write_dashboard(runs: list[Path], out: Path) -> None:
    """Every measure of history.csv over the epochs, for one run or several, and the rows.

    Args:
        runs: folders of finished trainings, at most LINES.
        out: the page.

    Raises:
        ScwmError: too many runs, a folder without history.csv, or one that was not trained.
    """
    if len(runs) > LINES:
        raise ScwmError(f"{len(runs)} runs; a page shows {LINES}.", "RUN", "make several pages")
    histories = {_name(run): _read(run) for run in runs}
    title = f"Training of {', '.join(histories)}"
    body = [f"<h1>{escape(title)}</h1>", _key(list(histories))]
    for section, columns in SECTIONS.items():
        panels = [_panel(histories, column, name) for column, name in columns.items()]
        body.append(f'<h2>{section}</h2><div class="panels">{"".join(filter(None, panels))}</div>')
    for name, history in histories.items():
        rows = html_rows(history.columns, history.map(lambda v: f"{v:.4g}").to_numpy())
        body.append(f"<details><summary>Every epoch of {escape(name)}</summary>{rows}</details>")
    with whole_file(out) as new:
        new.write_text(html_page(title, "\n".join(body), STYLE), encoding="utf-8")


def _name(run: Path) -> str:
    return "/".join(run.resolve().parts[-2:])


def _read(run: Path) -> pd.DataFrame:
    file = run / "history.csv"
    if not file.exists():
        raise ScwmError("There is no history.csv.", run, "train the run to its end first")
    history = pd.read_csv(file)
    if history.empty:
        raise ScwmError("The run has no epochs: it is a control, not trained.", run)
    return history.dropna(axis="columns", how="all")


def _key(names: list[str]) -> str:
    line = '<svg viewBox="0 0 36 12" aria-hidden="true"><path class="run l{}" d="M0 6H36"/></svg>'
    items = (f"<li>{line.format(i)} {escape(name)}</li>" for i, name in enumerate(names))
    return f'<ul class="key">{"".join(items)}</ul>'


def _panel(histories: dict[str, pd.DataFrame], column: str, title: str) -> str:
    """One measure of all runs that have it; empty where none has."""
    known = {i: h for i, h in enumerate(histories.values()) if column in h}
    if not known:
        return ""
    both = pd.concat([history[["epoch", column]] for history in known.values()]).dropna()
    low, high = float(both[column].min()), float(both[column].max())
    last = max(int(both.epoch.max()), 2)
    names = list(histories)

    def place(epoch: float, value: float) -> str:
        x = LEFT + (WIDTH - LEFT - 6) * (epoch - 1) / (last - 1)
        y = TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / ((high - low) or 1))
        return f"{x:.1f} {y:.1f}"

    lines, told = [], []
    for i, history in known.items():
        points = history[["epoch", column]].dropna().to_numpy()
        corners = [place(*point) for point in points]
        path = "M" + " L".join(corners if len(corners) > 1 else corners * 2)
        lines.append(f'<path class="run l{i}" stroke-linecap="round" d="{path}"/>')
        told.append(f"{names[i]} from {points[0][1]:.4g} to {points[-1][1]:.4g}")
    alt = escape(f"{title} over {last} epochs: {'; '.join(told)}", quote=True)
    bottom, right = HEIGHT - BOTTOM, WIDTH - 6
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{alt}">'
        f"<title>{alt}</title>"
        f'<path class="frame" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
        f'<text x="{LEFT - 4}" y="{TOP + 8}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{LEFT - 4}" y="{bottom}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 6}">1</text>'
        f'<text x="{right}" y="{HEIGHT - 6}" text-anchor="end">{last}</text>'
        f"{''.join(lines)}</svg><figcaption>{escape(title)}</figcaption></figure>"
    )

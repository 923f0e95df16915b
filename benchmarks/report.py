"""The measured rows as one Markdown table a stage and as log-log plots of growth."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from scwm.core.files import write_text
from scwm.reporting.figures.style import figure_style, save

OURS, REFERENCE = "#0072B2", "#D55E00"
QUANTITIES = {"seconds": "seconds", "peak_mb": "peak memory, MB"}
COLUMNS = 4
LEAST = {"seconds": 1e-4, "peak_mb": 1.0}  # below it a measurement is noise


def write_report(rows: pd.DataFrame, hardware: dict[str, Any], out: Path) -> list[Path]:
    """Write `stages.md` and `growth.png`, `.svg` into `out`; returns their paths.

    Args:
        hardware: of the machine that ran them, as `describe_machine` gives it.
    """
    table = out / "stages.md"
    machine = f"{hardware['processor']}, {hardware['cores']} cores, {hardware['instruction_sets']}"
    tables = [_table(name, part) for name, part in _stages(rows)]
    write_text("\n\n".join([f"Measured on: {machine}.", *tables]) + "\n", table)
    growing = [(name, part) for name, part in _stages(rows) if len(part) > 2]
    return [table, *(_growth(growing, out / "growth") if growing else [])]


def exponent(sizes: pd.Series, values: pd.Series) -> float:
    """Slope of log(values) over log(sizes), by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def _stages(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(name), part) for name, part in rows.groupby("stage", sort=False)]


def _table(name: str, part: pd.DataFrame) -> str:
    threads = int(part["threads"].iloc[0])
    unit = part["unit"].iloc[0]
    lines = [f"### {name.replace('_', ' ')} ({threads} thread{'s' if threads > 1 else ''})", ""]
    lines += [
        f"| {unit} | seconds | reference seconds | faster | peak MB | reference MB | agreement |",
        "|--:|--:|--:|--:|--:|--:|:--|",
    ]
    for _, row in part.iterrows():
        known = pd.notna(row.get("reference_seconds"))
        cells = [
            f"{int(row['size']):,}",
            _seconds(row["seconds"]),
            _seconds(row["reference_seconds"]) if known else "–",
            f"{row['faster']:.3g}×" if known else "–",
            f"{row['peak_mb']:,.0f}",
            f"{row['reference_peak_mb']:,.0f}" if known else "–",
            str(row["agreement"]) if known else "–",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _seconds(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _growth(stages: list[tuple[str, pd.DataFrame]], out: Path) -> list[Path]:
    """A column a stage, COLUMNS side by side: seconds above, peak memory below."""
    bands = [stages[i : i + COLUMNS] for i in range(0, len(stages), COLUMNS)]
    with figure_style():
        figure = Figure(figsize=(2.9 * COLUMNS, 4.6 * len(bands)), layout="constrained")
        strips = figure.subfigures(len(bands), 1, squeeze=False)[:, 0]
        for strip, band in zip(strips, bands, strict=True):
            axes = strip.subplots(2, COLUMNS, squeeze=False)
            for column in range(COLUMNS):
                if column < len(band):
                    _column(axes[:, column], *band[column])
                else:
                    for axis in axes[:, column]:
                        axis.set_visible(False)
            for axis, label in zip(axes[:, 0], QUANTITIES.values(), strict=True):
                axis.set_ylabel(label)
        return save(figure, out)


def _column(axes: np.ndarray, name: str, part: pd.DataFrame) -> None:
    """Ours and the reference of one stage, for each of QUANTITIES."""
    for axis, key in zip(axes, QUANTITIES, strict=True):
        sizes, values = part["size"], part[key].clip(lower=LEAST[key])
        label = f"ours ~ n^{exponent(sizes, values):.2f}"
        axis.plot(sizes, values, "o-", color=OURS, label=label)
        if f"reference_{key}" in part:
            reference = part[f"reference_{key}"].clip(lower=LEAST[key])
            axis.plot(sizes, reference, "s--", color=REFERENCE, label="reference")
        axis.set(xscale="log", yscale="log")
        for ticks in (axis.xaxis, axis.yaxis):
            ticks.set_major_locator(LogLocator(subs=(1, 3), numticks=8))
            ticks.set_major_formatter(EngFormatter(sep=""))
            ticks.set_minor_formatter(NullFormatter())
        axis.tick_params(labelsize=7.5)
        axis.legend(fontsize=7.5)
    axes[0].set_title(name.replace("_", " "))
    axes[1].set_xlabel(part["unit"].iloc[0])

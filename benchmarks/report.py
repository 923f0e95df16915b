"""The measured rows as one Markdown table a stage and as log-log plots of growth."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scwm.reporting.style import figure_style, save

OURS, REFERENCE = "#0072B2", "#D55E00"
QUANTITIES = {"seconds": "seconds", "peak_mb": "peak memory, MB"}
LEAST = {"seconds": 1e-4, "peak_mb": 1.0}  # below it a measurement is noise


def write_report(rows: pd.DataFrame, out: Path) -> list[Path]:
    """Write `stages.md` and `growth.png`, `.svg` into `out`; returns their paths."""
    table = out / "stages.md"
    table.write_text("\n\n".join(_table(name, part) for name, part in _stages(rows)) + "\n")
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
        f"| {unit} | seconds | reference | faster | peak MB | reference | agreement |",
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
    """One column a stage: seconds above, peak memory below."""
    with figure_style():
        figure = Figure(figsize=(2.7 * len(stages) + 0.4, 5.0), layout="constrained")
        axes = figure.subplots(2, len(stages), squeeze=False)
        for column, (name, part) in enumerate(stages):
            for axis, (key, label) in zip(axes[:, column], QUANTITIES.items(), strict=True):
                sizes, values = part["size"], part[key].clip(lower=LEAST[key])
                slope = exponent(sizes, values)
                axis.plot(sizes, values, "o-", color=OURS, label=f"ours ~ n^{slope:.2f}")
                if f"reference_{key}" in part:
                    axis.plot(
                        sizes,
                        part[f"reference_{key}"].clip(lower=LEAST[key]),
                        "s--",
                        color=REFERENCE,
                        label="reference",
                    )
                axis.set(xscale="log", yscale="log")
                axis.legend(fontsize=7.5)
                if not column:
                    axis.set_ylabel(label)
            axes[0, column].set_title(name.replace("_", " "))
            axes[1, column].set_xlabel(part["unit"].iloc[0])
        return save(figure, out)

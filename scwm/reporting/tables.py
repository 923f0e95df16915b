"""The tables `main` and `ablation`: figures from the runs, text from the figures."""

import json
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scwm.errors import ScwmError
from scwm.reporting.markup import UNKNOWN, Block, Cell, Table, to_html, to_markdown
from scwm.reporting.runs import CONTROLS, Runs, beside

REFERENCE = "scwm"


@dataclass(frozen=True)
class Measure:
    """A column of figures: where metrics.json holds it and how it is shown."""

    key: str
    title: str
    section: str | None = None
    scale: float = 100.0
    digits: int = 1
    ranked: bool = True
    signed: bool = False

    def read(self, metrics: dict[str, Any]) -> float | None:
        """The value of a run, None where it is unknown or not applicable."""
        section = metrics.get(self.section) or {} if self.section else metrics
        return section.get(self.key)

    def show(self, value: float) -> str:
        """The value alone, scaled and rounded, with a true minus sign and no minus zero."""
        text = f"{value * self.scale:{'+' if self.signed else ''}.{self.digits}f}"
        if float(text) == 0:
            text = text.lstrip("+-")
        return text.replace("-", "\N{MINUS SIGN}")


MAP, RANK1 = Measure("mAP", "mAP"), Measure("rank1", "Rank-1")
PARSING = (
    Measure("foreground_iou", "Foreground IoU", "parsing"),
    Measure("part_miou", "Part mIoU", "parsing"),
)
MAIN = (
    MAP,
    RANK1,
    Measure("rank5", "Rank-5"),
    Measure("rank10", "Rank-10"),
    Measure("mINP", "mINP"),
    Measure("mAP_trapezoid", "mAP (trapezoid)"),
    *PARSING,
    Measure("ari", "ARI", "pseudo_labels"),
    Measure("clusters", "Clusters", "pseudo_labels", scale=1, digits=0, ranked=False),
)
DIFFERENCE = Measure("difference", "Δ mAP", ranked=False, signed=True)
ABLATION = (MAP, DIFFERENCE, RANK1, *PARSING)
MEASURES = {"main": MAIN, "ablation": ABLATION}

TITLES = {"main": "Methods and controls", "ablation": "Ablation of the components"}
READING = (
    "Mean ± sample standard deviation over the seeds, in percent{counts}. Best value of the "
    f"methods bold, second underlined; controls are not ranked. {UNKNOWN}: unknown or not "
    "applicable; (n): known for n of the seeds only."
)
CAPTIONS = {
    "main": READING.format(counts=" (clusters: a count)"),
    "ablation": READING.format(counts="")
    + f" Δ mAP: difference to {REFERENCE} in percentage points, paired by seed.",
}


def summarise(name: str, runs: Runs) -> pd.DataFrame:
    """Mean, standard deviation and count of every measure for each data set and method.

    Returns:
        One row per data set and method asked for (found or not), in the order of display, with
        columns dataset, group (methods, controls), method, description, test_feature, note,
        seeds, seeds_missing and, for each measure, <key>_mean, <key>_std, <key>_count. Scores
        are fractions; what is unknown is NaN. The standard deviation is the sample's (n - 1).
    """
    measures = MEASURES[name]
    rows = [
        {
            "dataset": run.dataset,
            "method": run.method,
            "seed": run.seed,
            "description": run.config.get("description") or "",
            "test_feature": run.metrics.get("default_feature") or "",
            "note": run.metrics.get("label_note") or "",
        }
        | {m.key: m.read(run.metrics) for m in measures if m is not DIFFERENCE}
        for run in runs.found
    ]
    texts = ["description", "test_feature", "note"]
    keys = [m.key for m in measures]
    frame = pd.DataFrame(rows, columns=["dataset", "method", "seed", *texts, *keys])
    frame[keys] = frame[keys].astype(float)
    if DIFFERENCE in measures:
        reference = frame[frame.method == REFERENCE].set_index(["dataset", "seed"])["mAP"]
        own = frame.set_index(["dataset", "seed"])["mAP"]
        frame["difference"] = (own - reference.reindex(own.index)).to_numpy()
        frame.loc[frame.method == REFERENCE, "difference"] = float("nan")

    asked = pd.MultiIndex.from_product(
        [runs.datasets, _ordered(name, runs.methods)], names=["dataset", "method"]
    )
    grouped = frame.groupby(["dataset", "method"])
    table = grouped[texts].agg(_joined).reindex(asked)
    table[texts] = table[texts].fillna("")
    table["seeds"] = grouped.size().reindex(asked).fillna(0).astype(int)
    table["seeds_missing"] = len(runs.seeds) - table["seeds"]
    for key in keys:
        for statistic in ("mean", "std", "count"):
            table[f"{key}_{statistic}"] = grouped[key].agg(statistic).reindex(asked)
    table = table.reset_index()
    table.insert(1, "group", ["controls" if m in CONTROLS else "methods" for m in table.method])
    return table


def _joined(texts: pd.Series) -> str:
    return "; ".join(dict.fromkeys(texts))


def _ordered(name: str, methods: tuple[str, ...]) -> list[str]:
    """Methods, then controls; in the ablation the full method first and no controls."""
    ordered = sorted(methods, key=lambda method: method in CONTROLS)
    if name == "main":
        return ordered
    ablations = [method for method in ordered if method not in CONTROLS]
    return sorted(ablations, key=lambda method: method != REFERENCE)


def _cell(measure: Measure, row: pd.Series) -> str:
    mean, std, count = (row[f"{measure.key}_{s}"] for s in ("mean", "std", "count"))
    if pd.isna(mean):
        return UNKNOWN
    text = measure.show(mean)
    if not pd.isna(std):
        spread = f"{std * measure.scale:.{measure.digits}f}"
        text += f" ± {spread}"
    # A mean over fewer runs than the row's own count says so.
    return text if count == row["seeds"] else f"{text} ({int(count)})"


def _marks(measure: Measure, rows: pd.DataFrame) -> dict[Hashable, str]:
    """Index of the best and the second rows as displayed (equal figures share a mark)."""
    means = rows.loc[rows.group == "methods", f"{measure.key}_mean"].dropna()
    shown = (means * measure.scale).round(measure.digits).to_dict()
    places = sorted(set(shown.values()), reverse=True)[:2]
    if not measure.ranked or len(places) < 2:
        return {}
    names = dict(zip(places, ("best", "second"), strict=True))
    return {index: names[value] for index, value in shown.items() if value in names}


def build_table(name: str, runs: Runs) -> Table:
    """The table `name` ("main" or "ablation") as text cells, one block per data set."""
    measures = MEASURES[name]
    summary = summarise(name, runs)
    described = name == "ablation"
    lead = ("Method", "What differs") if described else ("Method",)
    header = (*lead, "Test feature", "Seeds", *(m.title for m in measures))
    blocks = []
    for dataset in runs.datasets:
        rows = summary[summary.dataset == dataset]
        marks = {measure.key: _marks(measure, rows) for measure in measures}
        groups: dict[str, list[list[Cell]]] = {}
        for index, row in rows.iterrows():
            asked = row.seeds + row.seeds_missing
            cells = [Cell(row.method, "name")]
            if described:
                cells.append(Cell(row.description or UNKNOWN, "text"))
            cells.append(Cell(row.test_feature or UNKNOWN, "text"))
            cells.append(Cell(f"{row.seeds} of {asked}" if row.seeds_missing else str(asked)))
            cells += [Cell(_cell(m, row), marks[m.key].get(index, "")) for m in measures]
            groups.setdefault(row.group, []).append(cells)
        notes = tuple(dict.fromkeys(note for note in rows.note if note))
        blocks.append(Block(dataset, notes, header, groups))
    gaps = tuple(map(str, runs.gaps))
    return Table(name, TITLES[name], CAPTIONS[name], tuple(blocks), gaps)


def nested_means(name: str, runs: Runs) -> dict[str, dict[str, dict[str, float]]]:
    """{dataset: {method: {measure: mean}}} rounded to 6 decimals; unknown values are left out."""
    nested: dict[str, dict[str, dict[str, float]]] = {}
    for _, row in summarise(name, runs).iterrows():
        means = {m.key: row[f"{m.key}_mean"] for m in MEASURES[name]}
        known = {key: round(float(mean), 6) for key, mean in means.items() if not pd.isna(mean)}
        nested.setdefault(row.dataset, {})[row.method] = known
    return nested


def write_table(name: str, runs: Runs, out: Path) -> list[Path]:
    """Write `out`.csv (fractions), .md, .html (one self-contained page) and .json (for DVC).

    Raises:
        ScwmError: for a table of another name.
    """
    if name not in MEASURES:
        raise ScwmError(f"no table named {name!r}", remedy=f"choose one of {', '.join(MEASURES)}")
    return write_files(
        build_table(name, runs), summarise(name, runs), nested_means(name, runs), out
    )


def write_files(table: Table, frame: pd.DataFrame, nested: dict[str, Any], out: Path) -> list[Path]:
    """Write a table in its four forms: the cells as text, the figures as CSV and JSON."""
    contents = {
        ".csv": frame.to_csv(index=False, float_format="%.8f", lineterminator="\n"),
        ".md": to_markdown(table),
        ".html": to_html(table),
        ".json": json.dumps(nested, indent=2, sort_keys=True) + "\n",
    }
    paths = []
    for ending, text in contents.items():
        paths.append(beside(out, ending))
        paths[-1].write_text(text, encoding="utf-8")
    return paths

"""Published results and ours: rows of config/published_results.csv, then our own runs."""

from pathlib import Path
from typing import Any

import pandas as pd

from scwm.core.config import uses_cameras
from scwm.core.errors import ScwmError
from scwm.core.measures import measures
from scwm.core.yaml_files import CONFIG_DIR
from scwm.reporting.catalogue import TITLES
from scwm.reporting.markup import UNKNOWN, Block, Cell, Table, notes_of
from scwm.reporting.runs import Runs
from scwm.reporting.tables.tables import summarise, summary_cell

PUBLISHED = CONFIG_DIR / "published_results.csv"
SCORES = measures("mAP", "rank1", "rank5", "rank10")
FACTS = {
    "method": "Method",
    "venue": "Venue",
    "year": "Year",
    "backbone": "Backbone",
    "cameras": "Cameras",
}
COLUMNS = ("dataset", *FACTS, *(score.key for score in SCORES), "source")
OURS = (
    *("scwm", "global_only", "stripes", "cluster_contrast", "cluster_contrast_hard"),
    *("spcl", "pplr", "pplr_cameras", "ise", "oracle", "pretrained"),
)
NAMES = {"resnet50": "ResNet-50", "resnet18": "ResNet-18", "mobilenet_v2": "MobileNetV2"}
CAPTION = (
    "Published figures in percent as their sources give them, one run or the best of several, most "
    "with the best epoch chosen on the test set; ours: mean ± sample standard deviation over the "
    "seeds, the last epoch. Cameras: whether camera labels are used in training. "
    f"{UNKNOWN}: not known to us."
)


def read_published(path: Path = PUBLISHED) -> pd.DataFrame:
    """Read published results, all cells as text; an unknown value is empty.

    Raises:
        ScwmError: a column is missing, a row has no source, or a score is not a percentage.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ScwmError(f"Not a table of published results: {error}", path) from error
    if list(table.columns) != list(COLUMNS):
        raise ScwmError("Other columns than expected.", path, f"give {', '.join(COLUMNS)}")
    for row in table.to_dict("records"):
        where = f"{path}: {row['method']} on {row['dataset']}"
        if not row["source"]:
            raise ScwmError("A published result without a source.", where, "name its source")
        for score in SCORES:
            text = row[score.key]
            if text and not (text.replace(".", "", 1).isdecimal() and float(text) <= 100):
                raise ScwmError(f"{score.key} is {text!r}.", where, "give percent, or leave it out")
    return table


def published_frame(runs: Runs) -> pd.DataFrame:
    """Build one row per published result and per method of ours, scores in percent."""
    published = read_published()
    published = published[published.dataset.isin(runs.datasets)].assign(group="published")
    own = [
        _facts(runs, row) | {s.key: _percent(row[f"{s.key}_mean"]) for s in SCORES}
        for row in _own(runs)
    ]
    frame = pd.concat([published, pd.DataFrame(own, columns=[*COLUMNS, "group"])])
    frame["place"] = frame.dataset.map(runs.datasets.index)
    return frame.sort_values("place", kind="stable").drop(columns="place").reset_index(drop=True)


def published_table(runs: Runs) -> Table:
    """Format published results and ours as text cells, a block per data set that has both."""
    published, blocks = read_published(), []
    header = (*FACTS.values(), *(score.heading for score in SCORES), "Source")
    for dataset in runs.datasets:
        groups: dict[str, list[list[Cell]]] = {}
        for row in published[published.dataset == dataset].to_dict("records"):
            cells = [Cell(row[fact] or UNKNOWN, "text") for fact in FACTS]
            cells += [Cell(row[score.key] or UNKNOWN) for score in SCORES]
            groups.setdefault("published", []).append([*cells, Cell(row["source"], "text")])
        for row in _own(runs, dataset):
            facts = _facts(runs, row)
            cells = [Cell(facts["method"], "name")]
            cells += [Cell(facts[fact] or UNKNOWN, "text") for fact in [*FACTS][1:]]
            cells += [Cell(summary_cell(score, row)) for score in SCORES]
            groups.setdefault("ours", []).append([*cells, Cell(facts["source"], "text")])
        shown = (run for run in runs.of(dataset) if run.method in OURS)
        notes = notes_of((run.method, run.metrics.get("label_note")) for run in shown)
        if "published" in groups:
            blocks.append(Block(dataset, notes, header, groups))
    gaps = tuple(str(gap) for gap in runs.gaps if gap.method in OURS)
    return Table("published", TITLES["published"], CAPTION, tuple(blocks), gaps)


def _own(runs: Runs, dataset: str | None = None) -> list[Any]:
    """Select rows of table `main` for our methods with a published counterpart."""
    rows = [row for _, row in summarise("main", runs).iterrows() if row.seeds]
    return [row for row in rows if row.method in OURS and dataset in (None, row.dataset)]


def _facts(runs: Runs, row: Any) -> dict[str, str]:
    """Describe our runs in the columns of the published rows."""
    config = runs.of(row["dataset"], row["method"])[0].config
    model = config.get("model", {})
    return {
        "dataset": row["dataset"],
        "group": "ours",
        "method": row["method"],
        "venue": "",
        "year": "",
        "backbone": NAMES.get(model.get("backbone", ""), ""),
        "cameras": "yes" if uses_cameras(config) else "no",
        "source": f"this benchmark, {row['seeds']} seed" + "s" * (row["seeds"] > 1),
    }


def _percent(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.1f}"

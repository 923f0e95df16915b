"""The tables of runs: numbers from the runs, text from the numbers."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd

from scwm.core.config import split_variant
from scwm.core.errors import ScwmError
from scwm.core.files import write_text
from scwm.core.measures import Measure
from scwm.reporting.catalogue import REFERENCE, TITLES
from scwm.reporting.claim_groups import for_readers
from scwm.reporting.markup import UNKNOWN, Block, Cell, Table, notes_of, render, to_markdown
from scwm.reporting.measures import read_measure
from scwm.reporting.runs import CONTROLS, ENOUGH_SEEDS, Runs, with_ending
from scwm.reporting.tables.latex import to_latex
from scwm.reporting.tables.layouts import LAYOUTS, RERANKED, TEXTS

PAGE = "reporting/templates/table.html"
READING = (
    "Mean ± sample standard deviation over the seeds, scores in percent. Best value of the methods "
    f"bold, second underlined, from {ENOUGH_SEEDS} seeds on; controls are not ranked. {UNKNOWN}: "
    "unknown or not applicable; (n): known for n of the seeds only. Trained and scored in "
    "float32 where no note says otherwise."
)


def summarise(name: str, runs: Runs) -> pd.DataFrame:
    """Compute mean, standard deviation and count of every measure for each data set and row.

    Returns:
        One row per data set and row of the table (found or not), in the order of display, with
        columns dataset, group, method, the columns of text, note, seeds, seeds_missing and, for
        each measure, <key>_mean, <key>_std, <key>_count. Scores are fractions; unknown values are
        NaN. The standard deviation is the sample standard deviation (n - 1).
    """
    layout = LAYOUTS[name]
    shown = columns(name, runs)
    texts = [*layout.texts, "note"]
    keys = [measure.key for measure in shown]
    rows = [
        {"dataset": run.dataset, "method": run.method, "seed": run.seed, "mAP_": run.metrics["mAP"]}
        | {text: TEXTS[text][1](run) for text in texts}
        | {measure.key: read_measure(run, measure) for measure in shown}
        for run in runs.found
    ]
    frame = pd.DataFrame(rows, columns=["dataset", "method", "seed", "mAP_", *texts, *keys])
    frame[["mAP_", *keys]] = frame[["mAP_", *keys]].astype(float)
    if "difference" in keys:
        reference = frame[frame.method == REFERENCE].set_index(["dataset", "seed"])["mAP_"]
        own = frame.set_index(["dataset", "seed"])["mAP_"]
        frame["difference"] = (own - reference.reindex(own.index)).to_numpy()
        frame.loc[frame.method == REFERENCE, "difference"] = float("nan")

    asked = pd.MultiIndex.from_product(
        [runs.datasets, layout.rows(runs.methods)], names=["dataset", "method"]
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
    table.insert(1, "group", [_group(method) for method in table.method])
    return _by_setting(table, runs) if name == "sweeps" else table


def columns(name: str, runs: Runs) -> tuple[Measure, ...]:
    """List the measures of a table, without those of `RERANKED` that no run has."""
    return tuple(
        measure
        for measure in LAYOUTS[name].measures
        if measure.key not in RERANKED
        or any(read_measure(run, measure) is not None for run in runs.found)
    )


def _by_setting(table: pd.DataFrame, runs: Runs) -> pd.DataFrame:
    """Order the rows of each setting by its values, with the reference's own value."""
    found = [table.iloc[:0]]
    varied = table[table.value != ""]
    for pair in varied[["dataset", "group"]].drop_duplicates().itertuples():
        dataset, setting = str(pair.dataset), str(pair.group)
        rows = varied[(varied.dataset == dataset) & (varied.group == setting)]
        own = table[(table.dataset == dataset) & (table.method == REFERENCE)]
        values = [setting_value(run.config, setting) for run in runs.of(dataset, REFERENCE)]
        own = own.assign(group=setting, value=str(next(iter(values), "")))
        both = pd.concat([rows, own])
        order = pd.to_numeric(both.value, errors="coerce").argsort(kind="stable")
        found.append(both.iloc[order])
    return pd.concat(found, ignore_index=True)


def setting_value(config: dict[str, Any], setting: str) -> Any:
    """Read a setting such as ``model.parts`` of a resolved config."""
    for key in setting.split("."):
        config = config[key]
    return config


def _joined(texts: pd.Series) -> str:
    return "; ".join(filter(None, dict.fromkeys(texts)))


def _group(method: str) -> str:
    base, setting, _ = split_variant(method)
    if setting and base == REFERENCE:
        return setting
    return "controls" if base in CONTROLS else "methods"


def summary_cell(measure: Measure, row: pd.Series) -> str:
    """Format mean ± standard deviation of a row of `summarise`."""
    mean, std, count = (row[f"{measure.key}_{s}"] for s in ("mean", "std", "count"))
    if pd.isna(mean):
        return UNKNOWN
    text = measure.show(mean)
    if not pd.isna(std):
        text += f" ± {std * measure.scale:,.{measure.decimals}f}"
    # A mean over fewer runs than the row's own count says so.
    return text if count == row["seeds"] else f"{text} ({int(count)})"


def _marks(measure: Measure, rows: pd.DataFrame) -> dict[Hashable, str]:
    """Find the best and the second rows as displayed (equal numbers share a mark)."""
    means = rows[f"{measure.key}_mean"].dropna()
    shown = (means * measure.scale).round(measure.decimals).to_dict()
    places = sorted(set(shown.values()), reverse=measure.better == "higher")[:2]
    if not measure.better or len(places) < 2:
        return {}
    if rows.loc[means.index, f"{measure.key}_count"].min() < ENOUGH_SEEDS:
        return {}
    names = dict(zip(places, ("best", "second"), strict=True))
    return {index: names[value] for index, value in shown.items() if value in names}


def build_table(name: str, runs: Runs) -> Table:
    """Build the table `name` of `LAYOUTS` as text cells, one block per data set.

    Raises:
        ScwmError: there is no table of this name.
    """
    if name not in LAYOUTS:
        raise ScwmError(f"no table named {name!r}", remedy=f"choose one of {', '.join(LAYOUTS)}")
    layout, shown = LAYOUTS[name], columns(name, runs)
    summary = summarise(name, runs)
    texts = (TEXTS[text][0] for text in layout.texts)
    header = ("Method", *texts, "Seeds", *(measure.heading for measure in shown))
    blocks = []
    for dataset in runs.datasets:
        rows = summary[summary.dataset == dataset]
        machines = _machines(runs, dataset) if name == "cost" else []
        marks = {
            measure.key: {
                index: mark
                for group, ranked in rows.groupby("group")
                if group != "controls"
                for index, mark in _marks(measure, ranked).items()
                if len(machines) < 2
            }
            for measure in shown
        }
        groups: dict[str, list[list[Cell]]] = {}
        for index, row in rows.iterrows():
            asked = row.seeds + row.seeds_missing
            cells = [Cell(row.method, "name")]
            cells += [Cell(row[text] or UNKNOWN, "text") for text in layout.texts]
            cells.append(Cell(f"{row.seeds} of {asked}" if row.seeds_missing else str(asked)))
            cells += [
                Cell(summary_cell(measure, row), marks[measure.key].get(index, ""))
                for measure in shown
            ]
            groups.setdefault(row.group, []).append(cells)
        notes = notes_of(zip(rows.method, rows.note, strict=True))
        if len(machines) > 1:
            notes = (*notes, f"runs of several machines, so not ranked: {', '.join(machines)}")
        if groups:
            blocks.append(Block(dataset, notes, header, groups))
    caption = f"{READING} {layout.note}".strip()
    methods = set(summary.method)
    gaps = tuple(str(gap) for gap in runs.gaps if gap.method in methods)
    return Table(name, TITLES[name], caption, tuple(blocks), gaps)


def _machines(runs: Runs, dataset: str) -> list[str]:
    """Name the processors and GPUs that ran the runs of a data set."""
    hardware = [
        run.provenance.get(key) or {}
        for run in runs.of(dataset)
        for key in ("hardware", "hardware_evaluate")
    ]
    named = {" and ".join(filter(None, (h.get("processor"), h.get("gpu")))) for h in hardware}
    return sorted(named - {""})


def write_files(table: Table, frame: pd.DataFrame, out: Path) -> list[Path]:
    """Write a table in all its forms.

    Args:
        frame: its numbers, scores as fractions, for `out`.csv; the text cells go to `out`.md,
            .html (one self-contained page) and .tex.
    """
    shown = for_readers(table) if table.name == "claims" else table
    contents = {
        with_ending(out, ".csv"): frame.to_csv(
            index=False, float_format="%.8f", lineterminator="\n"
        ),
        with_ending(out, ".md"): to_markdown(table),
        with_ending(out, ".html"): render(PAGE, title=table.title, table=shown),
        with_ending(out, ".tex"): to_latex(table),
    }
    for path, text in contents.items():
        write_text(text, path)
    return [*contents]

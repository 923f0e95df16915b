"""Tables of made-up runs: figures against plain pandas, marks, gaps, every layout, LaTeX."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_runs import (
    DATASETS,
    METHODS,
    NAMES,
    SCORES,
    SEEDS,
    TRANSFER,
    write_run,
    write_runs,
)

from scwm import reporting
from scwm.core.errors import ScwmError
from scwm.core.measures import MEASURES, Measure
from scwm.reporting.catalogue import Request, methods_of
from scwm.reporting.markup import UNKNOWN, notes_of
from scwm.reporting.measures import read_measure
from scwm.reporting.runs import load_runs, run_folder, transferred
from scwm.reporting.tables.latex import PACKAGES, escaped
from scwm.reporting.tables.layouts import LAYOUTS
from scwm.reporting.tables.tables import build_table, columns, summarise


def _plain(root: Path) -> pd.DataFrame:
    """All metrics by pandas' own reader, one row per run."""
    runs = [json.loads(path.read_text()) for path in root.glob("*/*/seed*/metrics.json")]
    return pd.json_normalize(runs)


def test_main_csv_equals_plain_pandas(root: Path, tmp_path: Path) -> None:
    reporting.table("main", Request(root, *NAMES), tmp_path / "main")
    table = pd.read_csv(tmp_path / "main.csv").set_index(["dataset", "method"])
    plain = _plain(root).groupby(["dataset", "method"])
    for score in SCORES:
        np.testing.assert_allclose(table[f"{score}_mean"], plain[score].mean()[table.index])
        np.testing.assert_allclose(
            table[f"{score}_std"], plain[score].std()[table.index], atol=1e-8
        )
    parsed = table.loc[("mannequins", "scwm"), "part_miou_mean"]
    expected = plain["parsing.part_miou"].mean()[("mannequins", "scwm")]
    assert parsed == pytest.approx(expected)
    assert list(table.loc["mannequins"].index) == list(METHODS)
    assert (table.seeds == 3).all() and (table.seeds_missing == 0).all()


def test_ablation_is_paired_with_scwm_and_has_no_controls(root: Path, tmp_path: Path) -> None:
    reporting.table("ablation", Request(root, *NAMES), tmp_path / "ablation")
    table = pd.read_csv(tmp_path / "ablation.csv").set_index(["dataset", "method"])
    assert list(table.loc["market1501"].index) == list(METHODS[:4])
    plain = _plain(root).set_index(["dataset", "method", "seed"])["mAP"].sort_index()
    for dataset in DATASETS:
        delta = plain[dataset, "no_space"] - plain[dataset, "scwm"]
        row = table.loc[(dataset, "no_space")]
        assert row.difference_mean == pytest.approx(delta.mean(), abs=1e-8)
        assert row.difference_std == pytest.approx(delta.std(), abs=1e-8)
        assert np.isnan(table.loc[(dataset, "scwm"), "difference_mean"])


def test_best_and_second_are_marked_among_methods_only(tmp_path: Path) -> None:
    write_runs(tmp_path, DATASETS[:1], ("scwm", "no_space", "global_only", "oracle"))
    for method, value in {"scwm": 0.6, "no_space": 0.70004, "global_only": 0.7}.items():
        _set_map(tmp_path, method, value)
    _set_map(tmp_path, "oracle", 0.99)
    methods = ("oracle", "scwm", "no_space", "global_only")
    block = build_table("main", load_runs(Request(tmp_path, DATASETS[:1], methods, SEEDS))).blocks[
        0
    ]
    column = block.header.index("mAP")
    rows = [row for group in block.groups.values() for row in group]
    marks = {row[0].text: (row[column].text, row[column].mark) for row in rows}
    assert marks == {
        "scwm": ("60.0 ± 0.0", "second"),
        "no_space": ("70.0 ± 0.0", "best"),  # equal as displayed: both are best
        "global_only": ("70.0 ± 0.0", "best"),
        "oracle": ("99.0 ± 0.0", ""),
    }
    assert list(block.groups) == ["methods", "controls"]
    block = build_table(
        "main", load_runs(Request(tmp_path, DATASETS[:1], methods, SEEDS[:2]))
    ).blocks[0]
    rows = [row for group in block.groups.values() for row in group]
    assert {row[column].mark for row in rows} == {""}  # two seeds decide nothing


def _set_map(root: Path, method: str, value: float) -> None:
    for seed in SEEDS:
        path = run_folder(root, "mannequins", method, seed) / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"mAP": value}))


def test_one_seed_has_no_deviation(root: Path) -> None:
    runs = load_runs(Request(root, DATASETS, METHODS, [0]))
    assert summarise("main", runs)["mAP_std"].isna().all()
    cells = build_table("main", runs).blocks[0].groups["methods"][0]
    assert "±" not in cells[-1].text


@pytest.mark.parametrize(
    ("measure", "value", "text"),
    [
        (MEASURES["mAP"], 0.12345, "12.3"),
        (Measure("d", "d", signed=True), 0.0042, "+0.4"),
        (Measure("d", "d", signed=True), -0.0042, "\N{MINUS SIGN}0.4"),
        (Measure("d", "d", signed=True), -0.0001, "0.0"),
        (Measure("s", "s", "s", decimals=0), 12345.6, "12,346"),
        (MEASURES["parameters"], 2_223_872.0, "2.22"),
        (MEASURES["clusters"], 117.0, "117"),
    ],
)
def test_numbers_are_shown(measure: Measure, value: float, text: str) -> None:
    assert measure.show(value) == text


def test_partial_table_shows_gaps_and_no_zero(gapped: Path, tmp_path: Path) -> None:
    reporting.table(
        "main", Request(gapped, DATASETS[:1], METHODS[:3], SEEDS, partial=True), tmp_path / "main"
    )
    markdown = (tmp_path / "main.md").read_text()
    row = next(line for line in markdown.splitlines() if line.startswith("| `no_space`"))
    assert [cell.strip() for cell in row.strip("|").split("|")][1:] == [
        UNKNOWN,
        "0 of 3",
        *[UNKNOWN] * 10,
    ]
    assert "2 of 3" in next(line for line in markdown.splitlines() if "`scwm`" in line)
    assert "- mannequins / scwm / seed 1: no metrics.json" in markdown
    assert "mannequins / no_space / seed 0" in (tmp_path / "main.html").read_text()
    table = pd.read_csv(tmp_path / "main.csv").set_index("method")
    assert np.isnan(table.loc["no_space", "mAP_mean"])


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_lost_run_marks_its_own_cells_alone(name: str, root: Path, tmp_path: Path) -> None:
    lost = tmp_path / "runs"
    shutil.copytree(root, lost)
    (run_folder(lost, "mannequins", "uniform_memory", 1) / "metrics.json").unlink()
    whole = build_table(name, load_runs(Request(root, *NAMES)))
    partial = build_table(name, load_runs(Request(lost, *NAMES, partial=True)))
    for before, after in zip(whole.blocks, partial.blocks, strict=True):
        for group in before.groups:
            for old, new in zip(before.groups[group], after.groups[group], strict=True):
                if (before.dataset, old[0].text) == ("mannequins", "uniform_memory"):
                    assert "2 of 3" in [cell.text for cell in new]
                else:
                    assert [cell.text for cell in old] == [cell.text for cell in new]
    listed = ("mannequins / uniform_memory / seed 1: no metrics.json",)
    assert partial.gaps == (listed if "uniform_memory" in str(whole.blocks) else ())


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scwm, at four parts, and three variants of it, each with an mAP of its own."""
    root = tmp_path_factory.mktemp("sweep")
    for method, value in zip(SWEEP, (0.6, 0.5, 0.7, 0.65), strict=True):
        for seed in SEEDS:
            folder = write_run(root, "mannequins", method, seed)
            metrics = json.loads((folder / "metrics.json").read_text())
            metrics["mAP"] = value + seed / 100
            (folder / "metrics.json").write_text(json.dumps(metrics))
            config = yaml.safe_load((folder / "config.yaml").read_text())
            config["losses"] = {"part": 1.0}
            (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return root


SWEEP = ("scwm", "scwm@model.parts=10", "scwm@model.parts=3", "scwm@losses.part=0.5")


def test_a_sweep_holds_the_values_in_order_with_the_methods_own(swept: Path) -> None:
    table = summarise("sweeps", load_runs(Request(swept, DATASETS[:1], SWEEP, SEEDS)))
    shown = table[["group", "value", "method"]].to_numpy().tolist()
    assert shown == [
        ["model.parts", "3", "scwm@model.parts=3"],
        ["model.parts", "4", "scwm"],
        ["model.parts", "10", "scwm@model.parts=10"],
        ["losses.part", "0.5", "scwm@losses.part=0.5"],
        ["losses.part", "1.0", "scwm"],
    ]
    np.testing.assert_allclose(table.mAP_mean, [0.71, 0.61, 0.51, 0.66, 0.61])
    np.testing.assert_allclose(table.difference_mean, [0.1, np.nan, -0.1, 0.05, np.nan])


def test_variants_stand_in_the_sweep_alone(swept: Path, tmp_path: Path) -> None:
    for name in reporting.TABLES:
        reporting.table(name, Request(swept, DATASETS[:1], SWEEP, SEEDS, TRANSFER), tmp_path / name)
        assert ("model.parts=3" in (tmp_path / f"{name}.md").read_text()) == (name == "sweeps")


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_figure_of_a_table_is_the_mean_over_the_runs(name: str, root: Path) -> None:
    runs = load_runs(Request(root, *NAMES))
    table = summarise(name, runs).set_index(["dataset", "method"])
    for measure in columns(name, runs):
        if measure.key == "difference":
            continue
        for key, row in table.iterrows():
            values = [read_measure(run, measure) for run in runs.of(*key)]
            known = [value for value in values if value is not None]
            assert row[f"{measure.key}_count"] == len(known)
            expected = np.mean(known) if known else np.nan
            np.testing.assert_allclose(row[f"{measure.key}_mean"], expected)


def test_re_ranked_scores_are_a_column_where_a_run_has_them(root: Path, tmp_path: Path) -> None:
    tables = [str(build_table(name, load_runs(Request(root, *NAMES)))) for name in LAYOUTS]
    assert "re-ranked" not in "".join(tables)
    some = shutil.copytree(root, tmp_path / "runs")
    path = run_folder(some, "mannequins", "scwm", 1) / "metrics.json"
    scores = {"mAP": 0.625, "rank1": 0.75}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"reranked": scores}))
    runs = load_runs(Request(some, *NAMES))
    (block, _) = build_table("main", runs).blocks
    rows = {cells[0].text: cells for cells in block.groups["methods"]}
    places = [block.header.index(f"{title} re-ranked") for title in ("mAP", "Rank-1")]
    assert [rows["scwm"][place].text for place in places] == ["62.5 (1)", "75.0 (1)"]
    assert [rows["no_space"][place].text for place in places] == [UNKNOWN] * 2
    means = summarise("main", runs).set_index(["dataset", "method"])
    assert means.loc[("mannequins", "scwm"), "mAP_reranked_mean"] == 0.625


def test_transfer_shows_the_scores_on_the_other_data_set(root: Path, tmp_path: Path) -> None:
    reporting.table("transfer", Request(root, *NAMES, transfer=TRANSFER), tmp_path / "transfer")
    table = pd.read_csv(tmp_path / "transfer.csv").set_index(["dataset", "method"])
    pairs = [f"{dataset} to personx" for dataset in DATASETS]
    assert list(dict.fromkeys(table.index.get_level_values(0))) == pairs
    for (pair, method), row in table.iterrows():
        own = pair.removesuffix(" to personx")
        files = [run_folder(root, own, method, s) / "transfer/personx.json" for s in SEEDS]
        scores = pd.DataFrame([json.loads(file.read_text()) for file in files])
        for key in ("mAP", "rank1", "rank5", "rank10", "mINP"):
            expected = scores[key].mean(), scores[key].std()
            np.testing.assert_allclose((row[f"{key}_mean"], row[f"{key}_std"]), expected, atol=1e-8)


def test_a_run_without_scores_on_the_other_data_set_is_a_gap(root: Path, tmp_path: Path) -> None:
    lost = shutil.copytree(root, tmp_path / "runs")
    (run_folder(lost, "mannequins", "scwm", 1) / "transfer/personx.json").unlink()
    (run_folder(lost, "mannequins", "no_space", 2) / "transfer/personx.json").write_text("{")
    runs = load_runs(Request(lost, *NAMES))
    with pytest.raises(ScwmError, match=r"scwm / seed 1: no transfer/personx.json(?s:.*)--partial"):
        transferred(runs, TRANSFER)
    table = build_table("transfer", transferred(runs, TRANSFER, partial=True))
    assert table.gaps == (
        "mannequins to personx / scwm / seed 1: no transfer/personx.json",
        "mannequins to personx / no_space / seed 2: transfer/personx.json is unreadable",
    )
    seeds = {row[0].text: row[2].text for row in table.blocks[0].groups["methods"]}
    assert seeds == dict.fromkeys(METHODS[2:4], "3") | dict.fromkeys(METHODS[:2], "2 of 3")


def test_a_data_set_is_no_other_one_to_its_own_runs(root: Path) -> None:
    runs = load_runs(Request(root, DATASETS, METHODS, SEEDS))
    assert transferred(runs, DATASETS, True).datasets == (
        "mannequins to market1501",
        "market1501 to mannequins",
    )
    for given in ((), DATASETS[:1]):
        with pytest.raises(ScwmError, match=r"no other data set(?s:.*)--transfer"):
            transferred(load_runs(Request(root, DATASETS[:1], METHODS, SEEDS)), given)


def test_costs_of_several_machines_are_not_ranked(root: Path) -> None:
    runs = load_runs(Request(root, *NAMES))
    hardware = {"processor": "another", "cores": 2, "gpu": None}
    first, *others = runs.found
    moved = replace(first, provenance=first.provenance | {"hardware": hardware})
    unknown = replace(others[0], provenance={})
    found = (moved, unknown, *others[1:])
    block = build_table("cost", replace(runs, found=found)).blocks[0]
    assert "runs of several machines, so not ranked: another, made up" in block.notes
    assert not {cell.mark for row in block.groups["methods"] for cell in row} - {"name", ""}


def test_the_lower_cost_is_the_better(root: Path) -> None:
    block = build_table("cost", load_runs(Request(root, *NAMES))).blocks[0]
    means = summarise("cost", load_runs(Request(root, *NAMES))).set_index(["dataset", "method"])
    column = block.header.index("Training (s)")
    best = next(row for row in block.groups["methods"] if row[column].mark == "best")
    ranked = [row[0].text for row in block.groups["methods"]]
    assert best[0].text == min(ranked, key=means.loc["mannequins"].seconds_train_mean.get)


def test_latex_has_a_cell_for_every_column(root: Path, tmp_path: Path) -> None:
    for name in reporting.TABLES:
        reporting.table(name, Request(root, *NAMES, transfer=TRANSFER), tmp_path / name)
        lines = (tmp_path / f"{name}.tex").read_text().splitlines()
        for begin in [i for i, line in enumerate(lines) if line.startswith(r"\begin{tabular}")]:
            end = lines.index(r"\end{tabular}}", begin)
            rows = [line for line in lines[begin:end] if line.endswith(r"\\")]
            columns = {len(re.findall(r"(?<!\\)&", row)) for row in rows if "multicol" not in row}
            assert len(columns) == 1 and len(rows) > 1
        assert all(ord(sign) < 128 for line in lines if line[0] != "%" for sign in line)


def test_latex_signs_are_escaped() -> None:
    assert escaped(r"a_b & 5 % of $x^2$ \ {±}") == (
        r"a\_b \& 5 \% of \$x\textasciicircum{}2\$ \textbackslash{} \{$\pm$\}"
    )


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
def test_latex_compiles(root: Path, swept: Path, tmp_path: Path) -> None:
    for name in reporting.TABLES:
        source = (swept, DATASETS[:1], SWEEP, SEEDS) if name == "sweeps" else (root, *NAMES)
        reporting.table(name, Request(*source, transfer=TRANSFER), tmp_path / name)  # type: ignore[call-arg]
    inputs = "\n".join(rf"\input{{{name}}}" for name in reporting.TABLES)
    document = rf"\documentclass{{article}}{PACKAGES}\begin{{document}}{inputs}\end{{document}}"
    (tmp_path / "all.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_a_note_that_not_all_methods_share_names_them():
    pairs = [("a", "development data; camera labels used"), ("b", "development data"), ("c", None)]
    assert notes_of(pairs[:2]) == ("development data", "a: camera labels used")
    assert notes_of(pairs) == ("a, b: development data", "a: camera labels used")
    assert notes_of([("a", "x; y"), ("b", "x; y")]) == ("x; y",)
    assert notes_of([]) == () == notes_of([("a", None)])


def test_another_method_with_one_setting_changed_is_a_method(tmp_path):
    """Of the reference such a method belongs to the sweep."""
    names = ["scwm", "scwm@model.parts=3", "stripes@memory.momentum=0.2", "pretrained"]
    write_runs(tmp_path, ["mannequins"], names, [0])
    table = summarise(
        "main", load_runs(Request(tmp_path, ["mannequins"], methods_of("main", names), [0]))
    )
    found = dict(zip(table.method, table.group, strict=True))
    assert found == {
        "scwm": "methods",
        "stripes@memory.momentum=0.2": "methods",
        "pretrained": "controls",
    }

"""Reporting on made-up runs: figures against plain pandas, gaps, escaping, stable bytes."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_runs import DATASETS, METHODS, NAMES, SCORES, SEEDS, write_runs
from matplotlib.figure import Figure
from PIL import Image

from scwm import reporting
from scwm.errors import ScwmError
from scwm.reporting.galleries import _rank_sheet
from scwm.reporting.markup import UNKNOWN
from scwm.reporting.runs import load_runs, run_folder
from scwm.reporting.tables import MAIN, Measure, build_table, summarise


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def gapped(tmp_path: Path) -> Path:
    """One data set in which scwm lacks the metrics of seed 1 and no_space lacks everything."""
    write_runs(tmp_path, DATASETS[:1], METHODS[:3])
    (run_folder(tmp_path, "mannequins", "scwm", 1) / "metrics.json").unlink()
    for seed in SEEDS:
        for path in run_folder(tmp_path, "mannequins", "no_space", seed).iterdir():
            path.unlink()
    return tmp_path


def _plain(root: Path) -> pd.DataFrame:
    """All metrics by pandas' own reader, one row per run."""
    runs = [json.loads(path.read_text()) for path in root.glob("*/*/seed*/metrics.json")]
    return pd.json_normalize(runs)


def test_main_csv_equals_plain_pandas(root: Path, tmp_path: Path) -> None:
    reporting.table("main", root, *NAMES, tmp_path / "main")
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
    reporting.table("ablation", root, *NAMES, tmp_path / "ablation")
    table = pd.read_csv(tmp_path / "ablation.csv").set_index(["dataset", "method"])
    assert list(table.loc["market1501"].index) == list(METHODS[:4])
    plain = _plain(root).set_index(["dataset", "method", "seed"])["mAP"].sort_index()
    for dataset in DATASETS:
        delta = plain[dataset, "no_space"] - plain[dataset, "scwm"]
        row = table.loc[(dataset, "no_space")]
        assert row.difference_mean == pytest.approx(delta.mean(), abs=1e-8)
        assert row.difference_std == pytest.approx(delta.std(), abs=1e-8)
        assert np.isnan(table.loc[(dataset, "scwm"), "difference_mean"])


def test_json_holds_rounded_means_and_leaves_unknown_values_out(root: Path, tmp_path: Path) -> None:
    reporting.table("main", root, *NAMES, tmp_path / "main")
    text = (tmp_path / "main.json").read_text()
    nested = json.loads(text)
    assert text == json.dumps(nested, indent=2, sort_keys=True) + "\n"
    plain = _plain(root).groupby(["dataset", "method"])["mAP"].mean()
    for (dataset, method), value in plain.items():
        assert nested[dataset][method]["mAP"] == round(value, 6)
    assert "foreground_iou" in nested["mannequins"]["scwm"]
    assert "foreground_iou" not in nested["market1501"]["scwm"]
    assert "clusters" not in nested["mannequins"]["pretrained"]


def test_best_and_second_are_marked_among_methods_only(tmp_path: Path) -> None:
    write_runs(tmp_path, DATASETS[:1], ("scwm", "no_space", "global_only", "oracle"))
    for method, value in {"scwm": 0.6, "no_space": 0.70004, "global_only": 0.7}.items():
        _set_map(tmp_path, method, value)
    _set_map(tmp_path, "oracle", 0.99)
    methods = ("oracle", "scwm", "no_space", "global_only")
    block = build_table("main", load_runs(tmp_path, DATASETS[:1], methods, SEEDS)).blocks[0]
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


def _set_map(root: Path, method: str, value: float) -> None:
    for seed in SEEDS:
        path = run_folder(root, "mannequins", method, seed) / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"mAP": value}))


def test_one_seed_has_no_deviation(root: Path) -> None:
    runs = load_runs(root, DATASETS, METHODS, [0])
    assert summarise("main", runs)["mAP_std"].isna().all()
    cells = build_table("main", runs).blocks[0].groups["methods"][0]
    assert "±" not in cells[-1].text


@pytest.mark.parametrize(
    ("measure", "value", "text"),
    [
        (MAIN[0], 0.12345, "12.3"),
        (Measure("d", "d", signed=True), 0.0042, "+0.4"),
        (Measure("d", "d", signed=True), -0.0042, "\N{MINUS SIGN}0.4"),
        (Measure("d", "d", signed=True), -0.0001, "0.0"),
        (MAIN[-1], 117.0, "117"),
    ],
)
def test_numbers_are_shown(measure: Measure, value: float, text: str) -> None:
    assert measure.show(value) == text


def test_missing_run_names_its_files(gapped: Path, tmp_path: Path) -> None:
    with pytest.raises(ScwmError) as error:
        reporting.table("main", gapped, DATASETS[:1], METHODS[:3], SEEDS, tmp_path / "main")
    assert "4 runs" in str(error.value)
    assert str(run_folder(gapped, "mannequins", "scwm", 1)) in str(error.value)
    assert "no metrics.json" in str(error.value)


def test_broken_metrics_are_a_gap(gapped: Path) -> None:
    folder = run_folder(gapped, "mannequins", "scwm", 0)
    (folder / "metrics.json").write_text("{")
    runs = load_runs(gapped, DATASETS[:1], METHODS[:1], SEEDS, partial=True)
    assert [gap.seed for gap in runs.gaps] == [0, 1]
    assert "unreadable" in runs.gaps[0].reason


def test_partial_table_shows_gaps_and_no_zero(gapped: Path, tmp_path: Path) -> None:
    reporting.table("main", gapped, DATASETS[:1], METHODS[:3], SEEDS, tmp_path / "main", True)
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


def test_names_are_escaped(root: Path, tmp_path: Path) -> None:
    reporting.table("ablation", root, *NAMES, tmp_path / "ablation")
    html = (tmp_path / "ablation.html").read_text()
    assert "the method &lt;no_space&gt; &amp; what differs" in html
    assert "<no_space>" not in html
    markdown = (tmp_path / "ablation.md").read_text()
    assert "&lt;no_space&gt;" in markdown
    widths = {
        line.replace("\\|", "").count("|") for line in markdown.splitlines() if line[:1] == "|"
    }
    assert len(widths) == 1


@pytest.mark.parametrize("name", reporting.PLOTS)
def test_plots_are_written_with_the_same_bytes(name: str, root: Path, tmp_path: Path) -> None:
    datasets = DATASETS if name == "ablation" else DATASETS[:1]
    names = (datasets, METHODS[:2] + METHODS[4:], SEEDS[:2])
    first = reporting.plot(name, root, *names, tmp_path / "a" / name)
    second = reporting.plot(name, root, *names, tmp_path / "b" / name)
    assert [path.name for path in first] == [f"{name}.png", f"{name}.svg"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    with Image.open(first[0]) as picture:
        assert picture.width > 700
    ET.parse(first[1])


@pytest.mark.parametrize("name", reporting.PLOTS)
def test_plots_of_nothing_still_stand(name: str, tmp_path: Path) -> None:
    out = tmp_path / "plots" / name
    with pytest.raises(ScwmError, match="missing or incomplete"):
        reporting.plot(name, tmp_path, DATASETS[:1], METHODS[:2], SEEDS, out)
    assert all(
        path.stat().st_size
        for path in reporting.plot(name, tmp_path, DATASETS[:1], METHODS[:2], SEEDS, out, True)
    )


def test_galleries_name_missing_pictures(gapped: Path, tmp_path: Path) -> None:
    names = (DATASETS[:1], METHODS[:1], SEEDS[:1])
    (run_folder(gapped, "mannequins", "scwm", 0) / "visuals.npz").unlink()
    with pytest.raises(ScwmError, match=r"visuals\.npz"):
        reporting.plot("masks", gapped, *names, tmp_path / "masks")
    reporting.plot("masks", gapped, *names, tmp_path / "masks", partial=True)


def test_rank_lists_leave_places_beyond_the_gallery_empty(root: Path) -> None:
    run = load_runs(root, DATASETS[:1], METHODS[:1], SEEDS[:1]).found[0]
    with np.load(run.folder / "visuals.npz") as stored:
        visuals = dict(stored)
    visuals["rank_score"][:, 8:] = -np.inf
    panel = Figure().subplots()
    _rank_sheet(panel, visuals, 11)
    assert len(panel.texts) == 4 * (1 + 8)


def test_unknown_names_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ScwmError, match="no table named"):
        reporting.table("best", root, *NAMES, tmp_path / "best")
    with pytest.raises(ScwmError, match="no plot named"):
        reporting.plot("best", root, *NAMES, tmp_path / "best")


def test_page_holds_everything_and_needs_no_network(root: Path, tmp_path: Path) -> None:
    tables, plots, out = tmp_path / "tables", tmp_path / "plots", tmp_path / "report.html"
    with pytest.raises(ScwmError, match=r"main\.html"):
        reporting.page(tables, plots, root, *NAMES, out)[0]
    for name in reporting.TABLES:
        reporting.table(name, root, *NAMES, tables / name)
    for name in reporting.PLOTS:
        plots.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(plots / f"{name}.png")
    found = reporting.page(tables, plots, root, *NAMES, out)[0].read_text()
    assert f"Each run ({len(DATASETS) * len(METHODS) * len(SEEDS)})" in found
    first = reporting.page(tables, plots, root, *NAMES, out)[0].read_bytes()
    assert reporting.page(tables, plots, root, *NAMES, out)[0].read_bytes() == first
    html = first.decode()
    assert html.count("data:image/png;base64,") == len(reporting.PLOTS)
    assert 'id="table-main"' in html and "parsing.space_correction = False" in html
    assert not [part for part in html.split("src=")[1:] if not part.startswith('"data:')]
    assert "<no_space>" not in html
    (plots / "masks.png").unlink()
    reporting.page(tables, plots, root, *NAMES, out, partial=True)
    assert "Not built: masks.png" in out.read_text()

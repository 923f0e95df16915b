"""Reporting on made-up runs: figures against plain pandas, gaps, escaping, stable bytes."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image

from scwm import reporting
from scwm.errors import ScwmError
from scwm.reporting.galleries import _rank_sheet
from scwm.reporting.markup import UNKNOWN
from scwm.reporting.runs import CONTROLS, load_runs, run_folder
from scwm.reporting.tables import MAIN, Measure, build_table, summarise

DATASETS = ("mannequins", "market1501")
METHODS = ("scwm", "no_space", "uniform_memory", "global_only", "random_features", "pretrained")
SEEDS = (0, 1, 2)
NAMES = (DATASETS, METHODS, SEEDS)
LOSSES = ("loss", "loss_global", "loss_part", "loss_parsing", "loss_diversity", "loss_separation")
SCORES = ("mAP", "mAP_trapezoid", "mINP", "rank1", "rank5", "rank10")


def _bodies(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """Part labels of upright ellipses, 1 at the head to 4 at the feet."""
    row, column = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    labels = []
    for shift in rng.uniform(-0.1, 0.1, count):
        body = ((row - 0.5) / 0.45) ** 2 + ((column - 0.5 - shift) / 0.25) ** 2 < 1
        labels.append(np.where(body, np.clip(row * 4, 0, 3).astype(int) + 1, 0))
    return np.array(labels, dtype=np.uint8)


def _pictures(rng: np.random.Generator, *shape: int) -> np.ndarray:
    base = rng.integers(60, 200, (*shape, 1, 1, 3))
    blocks = np.clip(base + rng.integers(-30, 30, (*shape, 8, 4, 3)), 0, 255).astype(np.uint8)
    return blocks.repeat(8, axis=-3).repeat(8, axis=-2)


def write_run(root: Path, dataset: str, method: str, seed: int, epochs: int = 6) -> Path:
    """A run folder as training and evaluation leave it, with plausible random content."""
    rng = np.random.default_rng([seed, *map(ord, dataset + method)])
    folder = run_folder(root, dataset, method, seed)
    folder.mkdir(parents=True)
    trained = method == "oracle" or method not in CONTROLS
    parsed = trained and method not in ("global_only", "stripes")
    truth = dataset == "mannequins"

    progress = np.arange(1, epochs + 1) / epochs
    history = pd.DataFrame({"epoch": np.arange(1, epochs + 1)})
    for scale, name in enumerate(LOSSES, start=1):
        history[name] = 6 / scale * np.exp(-2 * progress) + rng.normal(0, 0.05, epochs)
    history["clusters"] = rng.integers(90, 130, epochs)
    history["unclustered_share"] = 0.6 - 0.5 * progress + rng.normal(0, 0.02, epochs)
    for name in ("ari", "nmi", "label_foreground_iou", "label_part_miou"):
        history[name] = 0.8 * progress + rng.normal(0, 0.03, epochs)
    history["learning_rate"] = 3.5e-4 * 0.1 ** (np.arange(epochs) // (epochs // 2 + 1))
    if not parsed:
        history[[*LOSSES[2:], "label_foreground_iou", "label_part_miou"]] = np.nan
    if not truth:
        history[["label_foreground_iou", "label_part_miou"]] = np.nan
    history.iloc[: None if trained else 0].to_csv(folder / "history.csv", index=False)

    centre = 0.7 if trained else 0.2
    scores = {k: round(float(v), 6) for k, v in zip(SCORES, rng.normal(centre, 0.03, 6), strict=1)}
    parsing = {"foreground_iou": 0.81, "part_miou": round(float(rng.normal(0.6, 0.02)), 6)}
    labels = {"ari": 0.7, "nmi": 0.9, "clusters": int(history.clusters.iloc[-1])}
    metrics: dict[str, Any] = {
        "dataset": dataset,
        "method": method,
        "seed": seed,
        "default_feature": "both" if parsed else "global",
        "features": {"global": scores},
        "parsing": parsing if parsed and truth else None,
        "pseudo_labels": labels | {"unclustered_share": 0.1} if trained else None,
        "label_note": "" if truth else "first 200 identities (easier protocol)",
        **scores,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, sort_keys=True))
    config = {
        "dataset": dataset,
        "method": method,
        "seed": seed,
        "description": f"the method <{method}> & what differs | from scwm",
        "model": {"backbone": "mobilenet_v2", "image_size": [128, 64], "parts": 4},
        "parsing": {"space_correction": method != "no_space"},
        "training": {"epochs": epochs, "iterations": 40},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    provenance = {
        "commit": "0123456789abcdef",
        "dirty": False,
        "config_hash": "aa" * 16,
        "data_hash": "bb" * 16,
        "weights_hash": None,
        "versions": {"python": "3.11.7", "torch": "2.14.1"},
        "hardware": {"cpu": "two cores", "gpu": None},
        "seed": seed,
        "seconds": 321.5,
        "images_per_second": 110.2,
        "peak_memory_mib": 900.0,
    }
    (folder / "provenance.json").write_text(json.dumps(provenance))

    visuals = {
        "rank_query": _pictures(rng, 5),
        "rank_gallery": _pictures(rng, 5, 10),
        "rank_correct": rng.random((5, 10)) < centre,
        "rank_score": np.sort(rng.random((5, 10)))[:, ::-1],
        "mask_images": _pictures(rng, 8),
    }
    if parsed:
        visuals["mask_parts"] = _bodies(rng, 8, 16, 8)
    if truth:
        visuals["mask_truth"] = _bodies(rng, 8, 64, 32)
    np.savez_compressed(folder / "visuals.npz", **visuals)
    return folder


def write_runs(root: Path, datasets: Any = DATASETS, methods: Any = METHODS) -> Path:
    for dataset in datasets:
        for method in methods:
            for seed in SEEDS:
                write_run(root, dataset, method, seed)
    return root


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

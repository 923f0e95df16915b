"""DVC's stages against the workflow, and the recorded results."""

import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from made_up_runs import DATASETS, METHODS, SEEDS, TRANSFER, write_runs
from PIL import Image

from scwm import reporting
from scwm.core.errors import ScwmError
from scwm.reporting.catalogue import Request

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from record import record  # noqa: E402

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGE = PIPELINE["stages"]["benchmark"]
RECORDED = ROOT / "results/recorded"


@pytest.mark.parametrize("name", STAGE["foreach"])
def test_a_stage_names_what_its_benchmark_makes(name: str) -> None:
    item = STAGE["foreach"][name]
    whole = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config = whole | yaml.safe_load((ROOT / item["config"]).read_text())
    assert item["dataset"] in config["datasets"] and "scwm" in config["methods"]


def test_every_benchmark_has_a_stage_of_its_own_folder() -> None:
    items = STAGE["foreach"].values()
    assert len({item["results"] for item in items}) == len(items)
    other = {"market1501.yaml"}  # for a machine without Snakemake
    benchmarks = {p.name for p in (ROOT / "config").glob("*.yaml")} - other
    assert {Path(item["config"]).name for item in items} == benchmarks


def test_the_headline_of_every_recorded_benchmark_is_a_metric() -> None:
    """A file for each row of table `main`, which `dvc metrics show` prints as a row."""
    folders = [path.parent for path in sorted(RECORDED.rglob("provenance.json"))]
    folders = [folder for folder in folders if (folder / "tables").is_dir()]
    names = {(folder / "metrics").relative_to(ROOT).as_posix() for folder in folders}
    assert set(PIPELINE["metrics"]) == names
    for folder in folders:
        table = pd.read_csv(folder / "tables/main.csv").query("seeds > 0")
        made = folder / "metrics"
        files = {path.relative_to(made) for path in made.rglob("*.json")}
        assert files == {Path(row.dataset, f"{row.method}.json") for row in table.itertuples()}
        for row in table.itertuples():
            own = json.loads((made / row.dataset / f"{row.method}.json").read_text())
            assert own["seeds"] == row.seeds
            assert own["mAP"] == pytest.approx(100 * row.mAP_mean, abs=0.005001)
            assert own["rank1"] == pytest.approx(100 * row.rank1_mean, abs=0.005001)
            assert ("foreground_iou" in own) == (row.foreground_iou_count > 0)


def test_dvc_deletes_nothing_and_owns_no_run() -> None:
    stage = STAGE["do"]
    for kind in ("outs", "plots"):
        for entry in stage[kind]:
            ((path, options),) = entry.items()
            assert options["persist"] is True
            assert "runs" not in path or path.endswith("history.csv")


def test_what_a_stage_depends_on_is_there() -> None:
    stage = STAGE["do"]
    settings = [next(iter(entry)) for entry in stage["params"] if "$" not in str(entry)]
    assert all((ROOT / path).exists() for path in (*stage["deps"], *settings))


def write_tables(folder: Path, dataset: str, names: Iterable[str] = ("main", "claims")) -> None:
    """Write tables of all runs on a data set."""
    for name in names:
        wanted = Request(folder / "runs", [dataset], METHODS[:2], SEEDS, transfer=TRANSFER)
        reporting.table(name, wanted, folder / "tables" / name)


def blank(name: str, wanted: Request, out: Path) -> list[Path]:
    """Save a blank figure in place of `reporting.plot`, which takes long."""
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "white").save(out.with_suffix(".png"))
    return [out.with_suffix(".png")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and (blank) figures of made-up runs, as the workflow lays them out."""
    folder = tmp_path_factory.mktemp("results")
    write_runs(folder / "runs", DATASETS[:1], METHODS[:2])
    write_tables(folder, DATASETS[0])
    for name in reporting.PLOTS:
        blank(name, Request(folder, [], [], []), folder / "plots" / name)
    return folder


@pytest.fixture
def results(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to be changed and recorded, with blank figures."""
    monkeypatch.setattr(reporting, "plot", blank)
    return shutil.copytree(whole, tmp_path / "results")


def test_results_are_recorded_with_their_provenance(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # this test draws
    write_tables(results, DATASETS[0], reporting.TABLES)
    out = tmp_path / "recorded"
    for name in ("tables", "other"):
        (out / name).mkdir(parents=True)
        (out / name / "old.csv").touch()
    (out / "provenance.json").touch()  # of an earlier record
    write_runs(results / "runs", ["another"], METHODS[:1])  # not of these tables
    record(results, results / "runs", out)
    assert (out / "other/old.csv").exists() and not (out / "tables/old.csv").exists()
    for name in reporting.TABLES:
        for ending in ("csv", "md"):
            copy, made = (f / f"{name}.{ending}" for f in (out / "tables", results / "tables"))
            assert copy.read_bytes() == made.read_bytes()
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["commit"] == "0123456789abcdef" and provenance["dirty"] is False
    assert len(provenance["runs"]) == len(METHODS[:2]) * len(SEEDS)
    page = (out / "README.md").read_text()
    assert all(f"(plots/{name}.png)" in page for name in reporting.PLOTS)
    assert all(f"(tables/{name}.md)" in page for name in reporting.TABLES)


def test_runs_of_a_commit_add_up(results: Path, tmp_path: Path) -> None:
    """Seeds recorded in parts give the tables of all seeds; another commit starts again."""
    out = tmp_path / "recorded"
    method = results / "runs/mannequins/scwm"
    last = method / f"seed{SEEDS[-1]}"
    (method / "later").mkdir()
    last.rename(method / "later/run")
    record(results, results / "runs", out)
    assert not (out / "runs/mannequins/scwm" / last.name).exists()
    for path in method.glob("seed*"):  # another machine has only the later seed
        shutil.rmtree(path)
    (method / "later/run").rename(last)
    record(results, results / "runs", out)
    copy, made = (f / "tables/main.csv" for f in (out, results))
    assert copy.read_bytes() == made.read_bytes()
    kept = {path.suffix for path in (out / "runs").rglob("*") if path.is_file()}
    assert kept == {".json", ".csv", ".yaml", ".npz"}
    assert {path.name for path in (out / "runs").rglob("*.npz")} == {"queries.npz"}

    for path in (results / "runs").rglob("provenance.json"):
        path.write_text(path.read_text().replace("0123456789abcdef", "fedcba9876543210"))
    before = sorted(out.rglob("*"))
    with pytest.raises(ScwmError, match=r"(?s)recorded runs are of commit 0123.*--replace"):
        record(results, results / "runs", out)
    assert sorted(out.rglob("*")) == before
    record(results, results / "runs", out, replace=True)
    assert [path.name for path in (out / "runs/mannequins/scwm").iterdir()] == [last.name]


def test_a_record_replaces_no_folders_of_the_user(results: Path) -> None:
    """As of `--out results`, which holds the runs themselves."""
    before = sorted(results.rglob("*"))
    with pytest.raises(ScwmError, match=r"(?s)plots would be replaced.*another --out"):
        record(results, results / "runs", results)
    assert sorted(results.rglob("*")) == before


@pytest.mark.parametrize("name", ["data_hash", "config.yaml"])
def test_runs_of_other_data_or_settings_are_not_recorded(name, results, tmp_path) -> None:
    run = results / "runs/mannequins/scwm/seed1"
    if name == "data_hash":
        found = json.loads((run / "provenance.json").read_text())
        (run / "provenance.json").write_text(json.dumps(found | {name: "cc" * 16}))
    else:
        text = (run / name).read_text()
        (run / name).write_text(text.replace("iterations: 40", "iterations: 41"))
    with pytest.raises(ScwmError, match=rf"(?s)mannequins.* differ in {name}"):
        record(results, results / "runs", tmp_path / "recorded")
    assert not (tmp_path / "recorded").exists()


@pytest.mark.parametrize("dataset", ["mannequins", "market1501"])
def test_only_rendered_people_may_differ_between_kinds_of_cpu(
    dataset: str, results: Path, tmp_path: Path
) -> None:
    """Their rendering rounds differently; a download has one content."""
    if dataset == "market1501":
        shutil.rmtree(results / "runs")
        write_runs(results / "runs", [dataset], METHODS[:2])
        write_tables(results, dataset)
    for path in (results / "runs").glob("*/*/seed1/provenance.json"):
        found = json.loads(path.read_text())
        found["hardware"] |= {"processor": "another"}
        path.write_text(json.dumps(found | {"data_hash": "cc" * 16}))
    out = tmp_path / "recorded"
    if dataset == "market1501":
        with pytest.raises(ScwmError, match="differ in data_hash"):
            record(results, results / "runs", out)
        return
    record(results, results / "runs", out)
    provenance = json.loads((out / "provenance.json").read_text())
    assert len(provenance["data_hash"]) == len(provenance["hardware"]) == 2
    assert "another, " in (out / "README.md").read_text()


def test_images_of_real_people_are_not_recorded(results: Path, tmp_path: Path) -> None:
    shutil.rmtree(results / "runs")
    write_runs(results / "runs", ["market1501"], METHODS[:2])
    write_tables(results, "market1501")
    record(results, results / "runs", tmp_path / "recorded")
    kept = {path.stem for path in (tmp_path / "recorded/plots").iterdir()}
    assert kept == set(reporting.PLOTS) - {"masks", "ranks"}
    assert "ranks" not in (tmp_path / "recorded/README.md").read_text()


def test_a_benchmark_without_another_data_set_is_recorded(results: Path, tmp_path: Path) -> None:
    for path in (results / "runs").glob("*/*/seed*/transfer"):
        shutil.rmtree(path)
    record(results, results / "runs", tmp_path / "recorded")
    assert not [path for path in (tmp_path / "recorded").rglob("*") if path.stem == "transfer"]
    assert "transfer" not in (tmp_path / "recorded/README.md").read_text()


@pytest.mark.parametrize("change", [{"dirty": True}, {"commit": "fedcba9876543210"}])
def test_runs_of_other_code_are_not_recorded(change: dict, results: Path, tmp_path: Path) -> None:
    path = results / "runs/mannequins/scwm/seed1/provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ScwmError, match="not of one commit"):
        record(results, results / "runs", tmp_path / "recorded")
    assert not (tmp_path / "recorded").exists()

"""`scwm verify`: silent on what is right, and naming every figure that is changed."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_runs import TRANSFER, write_run

from scwm import reporting
from scwm.cli.main import main
from scwm.evaluation.evaluate import rank_features
from scwm.evaluation.sides import read_features
from scwm.reporting.catalogue import Request
from scwm.reporting.verify import Check

METHODS, SEEDS = ("scwm", "global_only", "scwm@model.parts=3"), (0, 1)
ROOT = Path(__file__).parents[2]
RUN = "runs/mannequins/scwm/seed0"


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs whose metrics are those of their features, and their main table."""
    root = tmp_path_factory.mktemp("results")
    for method in METHODS:
        for seed in SEEDS:
            folder = write_run(root / "runs", "mannequins", method, seed)
            change(folder / "metrics.json", **_scores(folder))
    given = root / "runs", ["mannequins"], METHODS, SEEDS
    reporting.table("main", Request(*given), root / "tables/main")
    reporting.table("transfer", Request(*given, transfer=TRANSFER), root / "tables/transfer")
    reporting.table("claims", Request(*given), root / "tables/claims")
    return root


@pytest.fixture
def results(untouched: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return shutil.copytree(untouched, tmp_path / "results")


def _scores(folder: Path) -> dict[str, object]:
    ranking = {
        feature: {name: round(value, 6) for name, value in scores.items()}
        for feature, scores in rank_features(read_features(folder / "features.npz")).items()
    }
    default = json.loads((folder / "metrics.json").read_text())["default_feature"]
    return {"features": ranking, **ranking[default]}


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def outcome(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main(["verify", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


def test_stored_features_give_the_average_precision_of_a_plain_loop(results: Path) -> None:
    stored = np.load(results / RUN / "features.npz")
    sides = []
    for side in ("query", "gallery"):
        parts = stored[f"{side}_parts"] * (stored[f"{side}_visibility"] > 0)[..., None]
        parts = parts.reshape(len(parts), -1).astype(float)
        parts /= np.maximum(np.linalg.norm(parts, axis=1, keepdims=True), 1e-12)
        both = np.hstack([stored[f"{side}_global"], parts])
        sides.append(both / np.linalg.norm(both, axis=1, keepdims=True))
    precisions = []
    for query, row in enumerate(sides[0] @ sides[1].T):
        same = stored["gallery_ids"] == stored["query_ids"][query]
        kept = ~(same & (stored["gallery_cameras"] == stored["query_cameras"][query]))
        right = same[kept][np.argsort(-row[kept], kind="stable")]
        precisions.append((np.cumsum(right) / np.arange(1, len(right) + 1))[right].mean())
    metrics = json.loads((results / RUN / "metrics.json").read_text())
    assert metrics["features"]["both"]["mAP"] == pytest.approx(np.mean(precisions), abs=1e-6)


def test_untouched_results_match(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = outcome(capsys, results)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    # head, runs, rows of main.csv, transfer.csv and claims.csv, what is not verified, sum
    claims = len(pd.read_csv(results / "tables/claims.csv"))
    assert claims and len(lines) == 1 + len(METHODS) * len(SEEDS) + 2 + 2 + claims + 4 + 1
    mean = 6 * 4 + 2  # measures of the default and of each test feature, transfer and the config
    row = next(line.split() for line in lines if line.split()[:2] == ["mannequins", "scwm"])
    stored = json.loads((results / RUN / "metrics.json").read_text())["mAP"]
    assert row[2:6] == ["0", "mAP", f"{stored:.6f}", f"{stored:.6f}"]
    assert row[6:] == f"{mean} of {mean} match".split()


def test_one_cell_is_chosen(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--dataset", "mannequins", "--method", "scwm", "--seed", 1, "--measure", "rank1"]
    status, out, _ = outcome(capsys, results, *chosen)
    assert status == 0
    for name in ("rank1", "both: rank1", "global: rank1", "parts: rank1", "config_hash"):
        assert sum(f"  {name} " in line for line in out.splitlines()) == 1
    assert len(out.splitlines()) == 1 + 5 + 4 + 1  # head, values, what is not verified, sum
    assert outcome(capsys, results, "--method", "best")[0] == 1
    assert "mAP_trapezoid" in outcome(capsys, results, "--measure", "map")[2]


def test_re_ranked_scores_are_checked(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results / RUN / "metrics.json"
    default = json.loads(path.read_text())["default_feature"]
    sides = read_features(path.with_name("features.npz"))
    (scores,) = rank_features(sides, default, rerank=True).values()
    change(path, reranked=scores)
    assert outcome(capsys, results, "--seed", 0)[0] == 0
    change(path, reranked=scores | {"mAP": scores["mAP"] - 0.1})
    status, _, err = outcome(capsys, results, "--seed", 0)
    assert status == 1 and err.count("recomputed") == 1 and "reranked: mAP is" in err


@pytest.mark.parametrize("measure", ["mAP", "mINP", "rank10"])
def test_a_changed_metric_is_named(
    results: Path, capsys: pytest.CaptureFixture[str], measure: str
) -> None:
    path = results / RUN / "metrics.json"
    value = json.loads(path.read_text())[measure]
    change(path, **{measure: value + 2e-6})
    status, out, err = outcome(capsys, results, "--seed", 0)
    assert status == 1
    told = f"mannequins / scwm / 0: {measure} is {value + 2e-6:.6f}, recomputed {value:.6f}"
    assert told in err and err.count("recomputed") == 1
    assert "25 of 26 match" in out


def test_a_changed_score_of_another_test_feature_is_named(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results / RUN / "metrics.json"
    features = json.loads(path.read_text())["features"]
    features["parts"]["rank5"] = 0.123456
    change(path, features=features)
    status, _, err = outcome(capsys, results)
    assert status == 1 and "mannequins / scwm / 0: parts: rank5 is 0.123456" in err
    assert err.count("recomputed") == 1


def test_changed_features_are_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results / RUN / "features.npz"
    arrays = dict(np.load(path))
    arrays["gallery_global"][:24] = arrays["query_global"][0]
    np.savez(path, **arrays)
    status, _, err = outcome(capsys, results)
    assert status == 1 and "mannequins / scwm / 0: global: mAP is" in err
    assert "seed1" not in err and "/ 1:" not in err


def change_cell(table: Path, method: str, column: str) -> None:
    """Write 0.5 into one cell of a table in CSV."""
    head, *rows = (line.split(",") for line in table.read_text().splitlines())
    row = next(row for row in rows if row[2] == method)
    row[head.index(column)] = "0.5"
    table.write_text("\n".join(",".join(line) for line in (head, *rows)) + "\n")


@pytest.mark.parametrize(
    ("column", "place"), [("mAP_mean", "mAP"), ("part_miou_mean", "part_miou"), ("ari_std", "ari")]
)
def test_a_changed_cell_of_the_table_is_named(
    results: Path, capsys: pytest.CaptureFixture[str], column: str, place: str
) -> None:
    change_cell(results / "tables/main.csv", "scwm", column)
    status, _, err = outcome(capsys, results)
    assert status == 1 and err.count("recomputed") == 1
    assert f"mannequins / scwm / main.csv, 2 seeds: {column} is 0.500000" in err
    unaffected = outcome(capsys, results, "--method", "global_only")
    assert unaffected[0] == 0


@pytest.mark.parametrize("column", ["mAP_mean", "rank1_std", "difference_mean"])
def test_a_changed_cell_of_the_table_of_other_data_sets_is_named(
    results: Path, capsys: pytest.CaptureFixture[str], column: str
) -> None:
    change_cell(results / "tables/transfer.csv", "global_only", column)
    status, _, err = outcome(capsys, results)
    assert status == 1 and err.count("recomputed") == 1
    assert f"mannequins to personx / global_only / transfer.csv, 2 seeds: {column} is 0.5" in err
    unaffected = outcome(capsys, results, "--method", "scwm")
    assert unaffected[0] == 0
    assert outcome(capsys, results, "--dataset", "mannequins")[0] == 1


def test_a_changed_config_is_named(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results / RUN / "config.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(config | {"training": {"epochs": 99}}))
    status, _, err = outcome(capsys, results)
    assert status == 1 and "mannequins / scwm / 0: config_hash is" in err


def test_a_changed_score_on_another_data_set_is_named(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results / RUN / "transfer/personx.json"
    stored = json.loads(path.read_text())
    known = [one for one in stored["average_precision"] if one is not None]
    assert stored["mAP"] == pytest.approx(np.mean(known), abs=1e-6)
    change(path, mAP=0.5)
    status, _, err = outcome(capsys, results, "--seed", 0)
    told = f"mannequins / scwm / 0: personx: mAP is 0.500000, recomputed {stored['mAP']:.6f}"
    assert status == 1 and told in err and err.count("recomputed") == 1
    path.write_text("{")
    status, _, err = outcome(capsys, results)
    assert status == 1 and "personx.json is unreadable" in err and "scwm evaluate --transfer" in err


def test_re_ranked_scores_on_another_data_set_are_checked_or_said_to_be_unverified(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results / RUN / "transfer/personx.json"
    chosen = results, "--method", "scwm", "--seed", 0
    rest = "rank1, rank5, rank10, mINP, mAP_trapezoid"
    scores = {key: 0.5 for key in ("mAP", *rest.split(", "))}
    change(path, reranked=scores)
    status, out, _ = outcome(capsys, *chosen)
    assert status == 0 and f"personx: reranked: mAP, {rest} (runs: 1)" in out
    assert f"personx: {rest} (runs: 1)" in out and "personx: scores of single test features" in out
    change(path, reranked_average_precision=[0.2, None, 0.8])
    status, out, _ = outcome(capsys, *chosen)
    assert status == 0 and f"personx: reranked: {rest} (runs: 1)" in out
    change(path, reranked=scores | {"mAP": 0.6})
    status, out, err = outcome(capsys, *chosen)
    assert status == 1 and err.count("recomputed") == 1 and "Not verified" in out
    assert "personx: reranked: mAP is 0.600000, recomputed 0.500000" in err


@pytest.mark.parametrize("file", ["queries.npz", "features.npz"])
@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_missing_and_broken_scores_are_named(
    results: Path, capsys: pytest.CaptureFixture[str], file: str, content: bytes | None
) -> None:
    path = results / RUN / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    elif file == "features.npz":  # as of recorded runs
        status, out, err = outcome(capsys, results)
        assert (status, err) == (0, "") and "scores of single test features (runs: 1)" in out
        return
    status, out, err = outcome(capsys, results)
    assert status == 1 and str(path) in err and "scwm evaluate" in err
    # The others are checked all the same.
    assert ["mannequins", "global_only"] in [line.split()[:2] for line in out.splitlines()]


def test_scores_of_queries_that_differ_are_named(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results / RUN / "queries.npz"
    arrays = dict(np.load(path))
    arrays["mAP"][3] += 0.1
    np.savez_compressed(path, **arrays)
    status, _, err = outcome(capsys, results)
    assert status == 1 and err.count("recomputed") == 1
    assert "mannequins / scwm / 0: mAP is" in err


@pytest.mark.parametrize("folder", ["", "baselines", "baselines_market1501"])
def test_recorded_results_match(capsys: pytest.CaptureFixture[str], folder: str) -> None:
    """What lies in folders of its own is named."""
    status, out, err = outcome(capsys, ROOT / "results/recorded" / folder)
    assert (status, err) == (0, "") and int(out.split()[-3]) > 300
    assert ("not checked: " in out and "recorded/baselines (" in out) == (folder == "")


def test_results_without_runs_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = outcome(capsys, tmp_path)
    assert (status, out) == (1, "") and "no evaluated run" in err


@pytest.mark.parametrize(
    "arrays", [{"rank1": np.ones(3)}, {"mAP": np.ones(3), "rank1": np.ones(2)}]
)
def test_scores_of_queries_that_do_not_fit_are_named(
    results: Path, capsys: pytest.CaptureFixture[str], arrays: dict[str, np.ndarray]
) -> None:
    np.savez_compressed(results / RUN / "queries.npz", **arrays)
    status, out, err = outcome(capsys, results)
    assert status == 1 and "Not the scores of queries" in err
    assert ["mannequins", "global_only"] in [line.split()[:2] for line in out.splitlines()]


@pytest.mark.parametrize(("column", "value"), [("verdict", "held"), ("effect", "0.5")])
def test_a_changed_claim_is_found(
    results: Path, capsys: pytest.CaptureFixture[str], column: str, value: str
) -> None:
    path = results / "tables/claims.csv"
    table = pd.read_csv(path, dtype=str)
    row = table.index[table.claim == "above_global_only"][0]
    table.loc[row, column] = value
    table.to_csv(path, index=False)
    status, _, err = outcome(capsys, results)
    assert status == 1 and f"above_global_only / claims.csv, 2 seeds: {column} is" in err


@pytest.mark.parametrize("name", ["config.yaml", "metrics.json", "provenance.json"])
def test_a_file_that_holds_no_mapping_is_told(
    results: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (results / RUN / name).write_text("[]")
    status, _, err = outcome(capsys, results)
    assert status == 1 and f"{name} holds no mapping" in err


@pytest.mark.parametrize("table", ["main", "claims"])
def test_a_table_with_an_empty_name_is_told(
    results: Path, capsys: pytest.CaptureFixture[str], table: str
) -> None:
    path = results / f"tables/{table}.csv"
    path.write_text(path.read_text().replace("mannequins", "", 1))
    status, _, err = outcome(capsys, results)
    assert status == 1 and f"{path}: not a table of `scwm table {table}`: a row without" in err


def test_a_run_without_scores_of_its_features_is_told(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(results / RUN / "metrics.json", features=None)
    status, _, err = outcome(capsys, results)
    assert status == 1 and "mannequins / scwm / 0: both: mAP is –, recomputed" in err


def test_a_copy_of_a_run_is_left_alone(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(results / RUN, results / f"{RUN}.bak")
    assert outcome(capsys, results)[0] == 0


def test_unknown_scores_are_shown_as_unknown() -> None:
    check = Check("crops", "ise", "0", "mAP", math.nan, math.nan)
    assert check.matches and check.cells()[-2:] == ("–", "–")

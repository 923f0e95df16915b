"""`scwm compare`: differences paired by seed or by query, against plain computations."""

import json

import numpy as np
import pytest
from made_up_runs import write_run
from scipy import stats

from scwm.cli.main import main
from scwm.core.errors import ScwmError
from scwm.evaluation import query_scores
from scwm.evaluation.sides import read_features
from scwm.reporting.compare import compare
from scwm.reporting.paired import seeds_needed


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of two methods, with seeds 0 to 2 and 1 to 3."""
    root = tmp_path_factory.mktemp("runs")
    for method, seeds in (("scwm", (0, 1, 2)), ("global_only", (1, 2, 3))):
        for seed in seeds:
            write_run(root, "mannequins", method, seed)
    return root / "mannequins"


def by_key(comparison):
    return {one.measure.key: one for one in comparison.differences}


def test_seeds_are_paired(runs):
    found = compare(runs / "global_only", runs / "scwm")
    assert found.seeds == (1, 2) and found.names == (
        "mannequins / global_only",
        "mannequins / scwm",
    )
    values = [
        [json.loads((runs / m / f"seed{s}/metrics.json").read_text())["mAP"] for s in (1, 2)]
        for m in ("global_only", "scwm")
    ]
    effects = 100 * (np.array(values[1]) - values[0])
    own = by_key(found)["mAP"]
    assert (own.first, own.second) == pytest.approx(tuple(100 * np.mean(values, axis=1)))
    expected = stats.ttest_1samp(effects, 0).confidence_interval(0.95)
    assert own.interval == pytest.approx((expected.low, expected.high))
    assert own.decided == (expected.low > 0 or expected.high < 0)
    assert own.deviation == pytest.approx(np.std(effects, ddof=1))
    assert found.seeds_needed == seeds_needed(own.deviation, 2.0)
    assert "foreground_iou" not in by_key(found), "one side alone has parts"


def test_single_runs_are_paired_by_query(runs):
    first, second = runs / "global_only/seed1", runs / "scwm/seed1"
    found = compare(first, second)
    assert found.names == ("mannequins / global_only / seed 1", "mannequins / scwm / seed 1")
    assert "12 queries" in found.basis
    precision = []
    for folder, feature in ((first, "global"), (second, "both")):
        query, gallery = (read_features(folder / "features.npz")[s] for s in ("query", "gallery"))
        arrays = [
            (side.embedding.features()[feature], side.ids, side.cameras)
            for side in (query, gallery)
        ]
        precision.append(query_scores(*arrays[0], *arrays[1])["mAP"])
    effects = 100 * (precision[1] - precision[0])
    expected = stats.ttest_1samp(effects, 0).confidence_interval(0.95)
    assert by_key(found)["mAP"].interval == pytest.approx((expected.low, expected.high))
    assert by_key(found)["ari"].interval is None and by_key(found)["ari"].decided is None
    assert found.seeds_needed is None


def test_a_run_equals_itself(runs):
    for path in (runs / "scwm", runs / "scwm/seed0"):
        for one in compare(path, path).differences:
            assert one.first == one.second and one.decided in (False, None)


def test_without_stored_scores_of_queries_there_is_no_interval(runs, tmp_path):
    run = write_run(tmp_path, "mannequins", "scwm", 1)
    (run / "queries.npz").unlink()
    found = compare(run, runs / "scwm/seed1")
    assert "no intervals" in found.basis and by_key(found)["mAP"].interval is None


def test_other_queries_are_not_paired(runs, tmp_path):
    run = write_run(tmp_path, "mannequins", "scwm", 1)
    path = run / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data_hash": "cc" * 16}))
    assert "queries or galleries differ" in compare(run, runs / "scwm/seed1").basis


def test_seeds_of_other_data_are_said(runs, tmp_path):
    for seed in (1, 2):
        path = write_run(tmp_path, "mannequins", "scwm", seed) / "provenance.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"data_hash": "cc" * 16}))
    other = compare(runs / "scwm", tmp_path / "mannequins/scwm")
    assert other.basis.endswith("; queries or galleries differ, so a difference may be the data's")
    assert "differ" not in compare(runs / "scwm", runs / "global_only").basis


def test_mistakes_are_told(runs, tmp_path):
    with pytest.raises(ScwmError, match="no evaluated run"):
        compare(tmp_path, runs / "scwm")
    for seed in (7, 8):
        write_run(tmp_path, "mannequins", "scwm", seed)
    with pytest.raises(ScwmError, match="no seed in common"):
        compare(tmp_path / "mannequins/scwm", runs / "scwm")


def test_table_and_json_say_the_same(runs, capsys):
    words = ["compare", str(runs / "global_only"), str(runs / "scwm")]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seeds"] == [1, 2]
    line = next(line for line in text.splitlines() if line.startswith("mAP "))
    assert f"{found['measures']['mAP']['difference']:+.2f}" in line
    assert f"\n{found['seeds_needed']} paired seeds decide a difference of 2 mAP" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_run_and_a_method_are_named_by_the_seed_that_they_share(runs):
    found = compare(runs / "global_only", runs / "scwm/seed1")
    assert found.names == ("mannequins / global_only / seed 1", "mannequins / scwm / seed 1")

"""Claims: their effects in made-up runs, what is not run, and mistakes in the file."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_runs import SEEDS, write_run

from scwm import reporting
from scwm.cli.main import main
from scwm.core.claim_files import check_claims
from scwm.core.errors import ScwmError
from scwm.reporting.catalogue import Request
from scwm.reporting.inputs import input_files
from scwm.reporting.paired import t_test
from scwm.reporting.runs import load_runs, run_folder
from scwm.reporting.tables.claims import Outcome, evaluate_claims, load_claims

BASE = {
    "statement": "parts help",
    "metric": "mAP",
    "method": "scwm",
    "against": {"method": "global_only"},
    "kind": "required",
}
METHODS = ("scwm", "global_only")


@pytest.fixture
def write(tmp_path, monkeypatch):
    """``write({key: value}, name={key: value})``: a folder of claims, each the base with these
    changes; the one without a name is `parts`."""

    def make(change: dict, **named: dict) -> Path:
        folder = tmp_path / "claims"
        folder.mkdir(exist_ok=True)
        for name, own in ({"parts": change} | named).items():
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(BASE | own))
        monkeypatch.setattr(load_claims, "__defaults__", (folder,))
        return folder

    return make


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Two methods whose mAP differs by 5, 4 and 6 points, and the studies of one."""
    root = tmp_path_factory.mktemp("runs")
    for seed, gain in zip(SEEDS, (0.05, 0.04, 0.06), strict=True):
        for method in METHODS:
            folder = write_run(root, "mannequins", method, seed)
            metrics = json.loads((folder / "metrics.json").read_text())
            metrics["mAP"] = 0.4 + 0.1 * seed + (gain if method == "scwm" else 0)
            (folder / "metrics.json").write_text(json.dumps(metrics))
        study = {
            "parsing": {
                "isp": {"part_miou": 0.4},
                "both": {"part_miou": 0.5 + 0.01 * seed, "joint_part_nmi": None},
            }
        }
        path = run_folder(root, "mannequins", "scwm", seed) / "study.json"
        path.write_text(json.dumps(study))
    return root


def outcome(root: Path, path: Path, seeds=SEEDS) -> Outcome:
    return evaluate_claims(
        load_claims(path), load_runs(Request(root, ["mannequins"], METHODS, seeds))
    )[0]


# Verdicts

# Evaluation


def test_effect_is_paired_over_the_seeds(root, write):
    found = outcome(root, write({}))
    np.testing.assert_allclose(found.effects, (0.05, 0.04, 0.06))
    assert found.verdict == "held" and not found.missing
    assert outcome(root, write({"metric": "parameters"})).verdict == "refuted"
    assert outcome(root, write({"at_least": 0.04})).verdict == "undecided"
    assert outcome(root, write({}), [1]).verdict == "one seed"


def test_sources_factors_and_thresholds(root, write):
    against = {"metric": "study:parsing.isp.part_miou", "times": 0.5}
    path = write({"metric": "study:parsing.both.part_miou", "against": against})
    np.testing.assert_allclose(outcome(root, path).effects, (0.3, 0.31, 0.32))
    path = write({"metric": "history:wrong_share", "against": {"value": 0.5}})
    last = [pd.read_csv(run_folder(root, "mannequins", "scwm", s) / "history.csv") for s in SEEDS]
    expected = [0.5 - table.wrong_share.iloc[-1] for table in last]
    np.testing.assert_allclose(outcome(root, path).effects, expected)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"against": {"method": "stripes"}}, "no run of stripes"),
        ({"metric": "study:parsing.both.joint_part_nmi", "against": {"value": 0}}, "is unknown"),
        ({"metric": "study:parsing.both.part_miou"}, "global_only seed 0: no study.json"),
        ({"metric": "parts.part_similarity"}, "global_only seed 0: parts.part_similarity is"),
        ({"metric": "history:part_wrong_ratio"}, "global_only seed 0: history:part_wrong_ratio is"),
    ],
)
def test_claim_without_values_says_why(root, write, change, reason):
    found = outcome(root, write(change))
    assert found.verdict == "not run" and found.effect is None
    assert reason in found.missing[0]


def test_one_missing_seed_leaves_the_others(root, write):
    runs = load_runs(Request(root, ["mannequins"], METHODS, (*SEEDS, 7), partial=True))
    found = evaluate_claims(load_claims(write({})), runs)[0]
    assert len(found.effects) == 3 and found.missing == ("no run of scwm with seed 7",)


def test_claims_of_other_data_sets_are_left_out(root, write):
    path = write({"datasets": ["market1501"]}, a={"datasets": ["mannequins"]}, b={})
    runs = load_runs(Request(root, ["mannequins"], METHODS, SEEDS))
    assert [o.claim.name for o in evaluate_claims(load_claims(path), runs)] == ["a", "b"]


def test_a_benchmark_names_the_claims_that_may_be_required(root, write):
    """Others are informative, and no part of the family that is corrected."""
    claims = load_claims(write({}, a={}, b={}, c={}))
    for names, kinds in (
        (None, ["required"] * 4),
        (("b",), ["informative", "required"] + ["informative"] * 2),
    ):
        runs = load_runs(Request(root, ["mannequins"], METHODS, SEEDS, claims=names))
        found = evaluate_claims(claims, runs)
        assert [one.claim.kind for one in found] == kinds
        factor = kinds.count("required")
        p_value = t_test(found[1].effects, 0)
        assert found[1].p_value == pytest.approx(factor * p_value)


# Mistakes


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ({"methd": "scwm"}, ["claim 'parts'", "Unknown key 'methd'"]),
        ({"method": "scvm"}, ["claim 'parts'", "Unknown method 'scvm'", "global_only"]),
        ({"against": {"method": "none"}}, ["Unknown method 'none'"]),
        (
            {"against": {"methods": "stripes"}},
            ["key 'against.methods'", "mean 'against.method'"],
        ),
        ({"against": {}}, ["`against`"]),
        ({"against": {"value": 1, "method": "stripes"}}, ["`against`"]),
        ({"against": {"method": "scwm"}}, ["with itself"]),
        ({"metric": "file:mAP"}, ["Unknown metric 'file:mAP'", "metrics.json"]),
        ({"metric": "mAp"}, ["Unknown metric 'mAp'", "Did you mean 'mAP'?"]),
        ({"metric": "history:nni"}, ["Unknown metric", "Did you mean 'history:nmi'?"]),
        ({"against": {"metric": "study:parsing.isp.part_iou"}}, ["Did you mean", "part_miou'?"]),
        ({"metric": "study:parsing.isp"}, ["Unknown metric 'study:parsing.isp'"]),
        ({"metric": "transfer:mAP"}, ["Unknown metric 'transfer:mAP'"]),
        ({"metric": "transfer:manikins.mAP"}, ["Unknown data set 'manikins'", "mannequins"]),
        ({"kind": "vital"}, ["kind is 'vital'", "required, informative"]),
        ({"at_least": "much"}, ["at_least is 'much'", "a number"]),
        ({"datasets": ["manikins"]}, ["Unknown data set 'manikins'", "mannequins"]),
        ({"datasets": "mannequins"}, ["datasets is 'mannequins'", "list"]),
        ({"datasets": 5}, ["datasets is 5", "list"]),
        ({"datasets": [[1]]}, ["datasets[0] is [1]", "text"]),
    ],
)
def test_mistake_in_a_claim_is_named(write, change, messages):
    with pytest.raises(ScwmError) as caught:
        load_claims(write(change))
    assert all(message in str(caught.value) for message in messages), caught.value


def test_mistakes_of_the_file_are_named(write):
    path = write({}) / "short.yaml"
    path.write_text(yaml.safe_dump({key: BASE[key] for key in BASE if key != "statement"}))
    with pytest.raises(ScwmError, match=r"(?s)'statement' is missing.*'short'"):
        load_claims(path.parent)
    path.write_text("- a")
    with pytest.raises(ScwmError, match="Expected a mapping"):
        load_claims(path.parent)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("study:parsing.all.part_miou", "known there: isp, both"),
        ("study:parsing.isp.part_miou.part_miou", "no more keys"),
        ("features.none.mAP", "known there: both, global, parts"),
    ],
)
def test_metric_that_the_run_lacks_is_told_with_the_known_ones(
    root, write, capsys, metric, message
):
    write({"metric": metric, "against": {"value": 0}})
    words = ["table", "claims", "--runs", str(root), "--datasets", "mannequins", "--methods",
             *METHODS, "--seeds", "0", "1", "--out", str(root / "none")]  # fmt: skip
    assert main(words) == 1
    error = capsys.readouterr().err
    assert metric in error and message in error and "'parts'" in error and "Traceback" not in error
    assert not (root / "none.csv").exists()


def test_claim_on_another_data_set_reads_its_scores(root, write):
    found = outcome(root, write({"metric": "transfer:personx.features.global.mAP"}))
    scores = [
        [
            json.loads((run_folder(root, "mannequins", m, s) / "transfer/personx.json").read_text())
            for s in SEEDS
        ]
        for m in METHODS
    ]
    expected = [
        a["features"]["global"]["mAP"] - b["features"]["global"]["mAP"]
        for a, b in zip(*scores, strict=True)
    ]
    assert found.effects == pytest.approx(expected) and len(expected) == 3
    absent = outcome(root, write({"metric": "transfer:market1501.mAP"}))
    assert absent.verdict == "not run" and "scwm seed 0: no transfer/market1501.json" in str(absent)


def test_claims_table_waits_for_the_scores_that_its_claims_name(write, monkeypatch):
    folder = write({"metric": "transfer:personx.mAP"}, other={"metric": "transfer:msmt17.mAP"})
    monkeypatch.setattr("scwm.reporting.inputs.CONFIG_DIR", folder.parent)
    wanted = Request(Path("runs"), ["mannequins"], [*METHODS, "stripes"], [0])
    more = replace(wanted, transfer=["personx", "market1501"])
    read = set(input_files("claims", more)) - set(input_files("claims", wanted))
    assert read == {f"runs/mannequins/{m}/seed0/transfer/personx.json" for m in METHODS}


@pytest.mark.parametrize("change", [{"against": None}, {"against": "stripes"}, {"method": None}])
def test_a_claim_without_two_sides_is_named(write, monkeypatch, change):
    """Before any run: Snakemake asks which files the table reads."""
    folder = write(change)
    monkeypatch.setattr("scwm.reporting.inputs.CONFIG_DIR", folder.parent)
    wanted = Request(Path("runs"), ["mannequins"], list(METHODS), [0])
    with pytest.raises(ScwmError, match=r"(?s)no two sides.*claims/.*\.yaml"):
        input_files("claims", wanted)


def test_a_mistake_in_a_claim_that_a_benchmark_names_is_named(write, monkeypatch):
    monkeypatch.setattr("scwm.core.claim_files.CONFIG_DIR", write({"datasets": 5}).parent)
    with pytest.raises(ScwmError, match="datasets is 5"):
        check_claims(["parts"], ["mannequins"], "claims")


def test_unknown_claim_is_named_with_the_nearest(tmp_path, capsys):
    runs = ["--datasets", "mannequins", "--methods", *METHODS, "--seeds", "0"]
    words = ["table", "claims", *runs, "--claims", "space_mio", "--out", str(tmp_path / "a")]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "Unknown claim 'space_mio'. Did you mean 'space_miou'?" in error and "--claims" in error


# The shipped claims, as a table and as a plot


def test_shipped_claims_fit_every_made_up_run(tmp_path):
    shipped = load_claims()
    assert {c.kind for c in shipped} == {"required", "informative"}
    methods = sorted({side.method for c in shipped for side in (c.side, c.rival)})
    for method in methods:
        for seed in (0, 1):
            write_run(tmp_path, "mannequins", method, seed)
    names = (["mannequins"], methods, [0, 1])
    reporting.table("claims", Request(tmp_path, *names), tmp_path / "claims")
    table = pd.read_csv(tmp_path / "claims.csv")
    own = [c for c in shipped if "mannequins" in c.datasets]
    assert list(table.claim) == [c.name for c in own]
    unread = table[table.verdict == "not run"]
    reasons = unread.missing.str.contains(r"no (?:study\.json|transfer/)")
    assert len(unread) < len(table) and reasons.all()
    text = (tmp_path / "claims.md").read_text()
    assert text.index("*required*") < text.index("*informative*")

    reporting.plot("claims", Request(tmp_path, *names), tmp_path / "a")
    svg = (tmp_path / "a.svg").read_text()
    told = " ".join(re.findall(r"<!-- (.*?) -->", svg, re.S)).replace("\n", " ")
    assert all(c.statement.replace("`", "") in told for c in own) and "no study.json" in told
    assert "`" not in told and not re.search(r"\w_\w", told.replace("no run of no_", ""))

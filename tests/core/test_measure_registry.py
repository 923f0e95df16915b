"""The registry of measures against what a run's commands write, and how a measure is named."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import filter as matching
from pathlib import Path
from typing import Any

import pytest

from scwm.cli.main import main
from scwm.core.errors import ScwmError
from scwm.core.measures import MEASURES, measure_at
from scwm.method.objective import LOSSES
from scwm.reporting.measures import read_measure
from scwm.reporting.runs import read_run

SETTINGS = {"dataset", "method", "seed", "precision", "default_feature", "label_note"}
SETTINGS |= {
    "strategy",
    "tau",
    "data_hash",
    "code_hash",
    "average_precision",
    "queries",
    "queries_scored",
}


def paths(content: Any, path: str = "") -> Iterator[str]:
    """Dotted paths of all values that are no settings."""
    if isinstance(content, list):
        content = dict(enumerate(content))
    if not isinstance(content, dict):
        yield path.removesuffix(".")
        return
    for key, value in content.items():
        if key not in SETTINGS:
            yield from paths(value, f"{path}{key}.")


@pytest.fixture(scope="module")
def run(trained: Path, other_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all commands with masks, its study, and its scores on another data set."""
    folder = tmp_path_factory.mktemp("studied") / "seed0"
    shutil.copytree(trained / "results/runs/mannequins/scwm/seed0", folder)
    assert main(["study", str(folder), "--store", str(trained / "data/stores/toy")]) == 0
    store = ["--store", str(trained / "data/stores/toy")]
    assert main(["evaluate", str(folder), "--rerank", *store]) == 0
    assert main(["evaluate", str(folder), "--transfer", "--store", str(other_store)]) == 0
    return folder


def test_what_a_run_writes_is_registered_and_what_is_registered_is_written(run: Path) -> None:
    names = ("metrics", "study", "transfer/market1501")
    read = {name: json.loads((run / f"{name}.json").read_text()) for name in names}
    history = (run / "history.csv").read_text().splitlines()[0].split(",")
    written = [
        *paths(read["metrics"]),
        *(f"history:{column}" for column in history),
        *(f"study:{path}" for path in paths(read["study"])),
        *(f"transfer:market1501.{path}" for path in paths(read["transfer/market1501"])),
    ]
    for path in written:
        assert path.replace(":", ".").rpartition(".")[2] == measure_at(path).key
    written += [f"provenance:{key}" for key in json.loads((run / "provenance.json").read_text())]
    for one in MEASURES.values():
        assert all(matching(written, source) for source in one.sources), one.key
    assert [one.key for one in MEASURES.values() if not one.sources] == ["difference"]
    assert set(LOSSES) <= set(history)


def test_tables_read_the_value_at_the_first_source(run: Path) -> None:
    found = read_run(run, "mannequins", "scwm", 0)
    features, labels = found.metrics["features"], found.metrics["pseudo_labels"]
    expected = {
        "mAP": features[found.metrics["default_feature"]]["mAP"],
        "rank1_global": features["global"]["rank1"],
        "trapezoid_parts": features["parts"]["mAP_trapezoid"] - features["parts"]["mAP"],
        "clusters": labels["clusters"],
        "loss": found.history["loss"].iloc[-1],
        "seconds_evaluate": found.provenance["seconds_evaluate"],
        "difference": None,
    }
    assert {key: read_measure(found, MEASURES[key]) for key in expected} == pytest.approx(expected)
    absent = replace(MEASURES["mAP"], sources=("features.elsewhere.mAP",))
    assert read_measure(found, absent) is None


@pytest.mark.parametrize(
    ("source", "nearest"),
    [
        ("mAp", "mAP"),
        ("parsing.foreground_iuo", "parsing.foreground_iou"),
        ("history:part_wrong_rate", "history:part_wrong_ratio"),
        ("study:parsing.isp.part_iou", "study:parsing.*.part_miou"),
    ],
)
def test_unknown_source_is_an_error_with_the_nearest(source: str, nearest: str) -> None:
    with pytest.raises(ScwmError) as caught:
        measure_at(source)
    assert f"'{source}'" in str(caught.value) and f"Did you mean '{nearest}'?" in str(caught.value)

"""Scores on another data set: against a plain loop over the features that the run has stored."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from scwm.data import ImageStore
from scwm.evaluation.sides import Side, read_features
from scwm.evaluation.transfer import transfer


def precisions(query: Side, gallery: Side, feature: str) -> list[float | None]:
    """Average precision of each query, None without a match, without the gallery's person 12."""
    found = []
    queries, searched = (
        side.embedding.features()[feature].double().numpy() for side in (query, gallery)
    )
    for row, person, camera in zip(queries @ searched.T, query.ids, query.cameras, strict=True):
        same = gallery.ids == person
        kept = ~(same & (gallery.cameras == camera)) & (gallery.ids != 12)
        right = same[kept][np.argsort(-row[kept], kind="stable")]
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        found.append(precision[right].mean() if right.any() else None)
    return found


@pytest.mark.parametrize("method", ["scwm", "random_features"])
def test_scores_are_those_of_a_plain_loop(
    method: str, trained: Path, other_store: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained / f"results/runs/mannequins/{method}/seed0", tmp_path / "seed0")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    path = transfer(run, ImageStore(other_store), rerank=method == "scwm")
    assert path == run / "transfer/market1501.json"
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    found, metrics = (json.loads(file.read_text()) for file in (path, run / "metrics.json"))
    assert found["dataset"] == "market1501"
    for key in ("method", "seed", "precision", "default_feature"):
        assert found[key] == metrics[key]
    if method == "random_features":  # drawn, so they are others with each split
        assert 0 < found["mAP"] < 1 and None in found["average_precision"]
        return
    sides = read_features(run / "features.npz")
    for feature, scores in found["features"].items():
        expected = precisions(sides["gallery"], sides["query"], feature)
        known = [one for one in expected if one is not None]
        assert scores["mAP"] == pytest.approx(np.mean(known), abs=1e-6)
        assert scores["mAP"] != pytest.approx(metrics["features"][feature]["mAP"], abs=1e-3)
        if feature == found["default_feature"]:
            assert found["average_precision"] == pytest.approx(expected, abs=1e-6)
            assert found["mAP"] == scores["mAP"]
    assert sum(one is None for one in expected) == 4  # the images of the last person
    assert found["reranked"].keys() == found["features"]["global"].keys()
    again = found["reranked_average_precision"]
    known = [one for one in again if one is not None]
    assert [one is None for one in again] == [one is None for one in expected]
    assert found["reranked"]["mAP"] == pytest.approx(np.mean(known), abs=1e-6)


def test_queries_without_a_match_are_counted_in_the_scores(trained, other_store, tmp_path):
    run = shutil.copytree(trained / "results/runs/mannequins/scwm/seed0", tmp_path / "seed0")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["queries"] == metrics["queries_scored"] == 8 and not metrics["label_note"]
    found = json.loads(transfer(run, ImageStore(other_store)).read_text())
    assert found["queries"] == len(found["average_precision"]) == 16
    assert found["queries_scored"] == 12
    assert found["label_note"].endswith("scored are the 12 of 16 queries with a match")

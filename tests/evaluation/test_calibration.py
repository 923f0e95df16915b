"""Thresholds of similarity against plain counts over all pairs."""

import csv
import json

import numpy as np
import pytest
import torch
from test_ranking import random_case

from scwm.core.errors import ScwmError
from scwm.evaluation.calibration import COLUMNS, calibrate
from scwm.evaluation.sides import Side
from scwm.models.embedding import Embedding


def sides(case: tuple) -> dict[str, Side]:
    q, g = (torch.nn.functional.normalize(torch.from_numpy(case[i]).float()) for i in (0, 3))
    return {"query": Side(Embedding(q), *case[1:3]), "gallery": Side(Embedding(g), *case[4:])}


@pytest.mark.parametrize("chunk", [7 * 300, 1 << 23])
def test_shares_are_plain_counts_over_pairs(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """Without the own camera's images and those of nobody; distractors are false matches."""
    monkeypatch.setattr("scwm.evaluation.similarities.CHUNK_ELEMENTS", chunk)
    case = random_case(0, tied=False)
    found = calibrate(sides(case), "global")
    assert [row["min_similarity"] for row in found] == [n / 50 for n in range(51)]
    q, g = (side.embedding.global_feature.numpy() for side in sides(case).values())
    true, false, highest = [], [], []
    for one, person, camera in zip(q, *case[1:3], strict=True):
        highest.append(-2.0)
        for other, its_person, its_camera in zip(g, *case[4:], strict=True):
            similarity = float(one @ other)
            if its_person == person and its_camera != camera:
                true.append(similarity)
            elif its_person not in (person, -1):
                false.append(similarity)
                highest[-1] = max(highest[-1], similarity)
    for row in found:
        shares = (np.mean(np.array(x) >= row["min_similarity"]) for x in (false, true, highest))
        assert [row[name] for name in COLUMNS[1:]] == pytest.approx([*shares], abs=1e-9)
    assert 0 < found[10]["false_match_rate"] < found[0]["false_match_rate"] < 1


def test_a_similarity_that_is_the_threshold_reaches_it() -> None:
    x = np.array([[1.0, 0.0]]), np.array([[0.5, 0.75**0.5], [1.0, 0.0]])
    case = (x[0], np.array([1]), np.array([1]), x[1], np.array([1, 2]), np.array([2, 2]))
    found = {row["min_similarity"]: row for row in calibrate(sides(case), "global")}
    assert found[0.5]["true_matches_found"] == 1 and found[0.52]["true_matches_found"] == 0
    assert found[1]["false_match_rate"] == 1


def test_images_of_one_camera_calibrate_nothing() -> None:
    case = random_case(0, tied=False)
    alone = (*case[:2], 0 * case[2], *case[3:5], 0 * case[5])
    with pytest.raises(ScwmError, match="no query has a match in the gallery from another camera"):
        calibrate(sides(alone), "global")


def test_queries_of_unknown_identity_are_left_out() -> None:
    """They have no true match, and a similarity to their own person would count as false."""
    case = random_case(0, tied=False)
    stranger = (np.r_[own, other[:1]] for own, other in zip(case[:3], case[3:], strict=True))
    features, ids, cameras = stranger
    ids[-1] = -1
    more = features, ids, cameras, *case[3:]
    assert calibrate(sides(more), "global") == calibrate(sides(case), "global")
    with pytest.raises(ScwmError, match=r"(?s)no image shows a known person.*query.*--names none"):
        calibrate(sides((features, 0 * ids - 1, *more[2:])), "global")


def test_the_command_writes_what_it_prints(trained, scwm, tmp_path, capsys) -> None:
    run = tmp_path / "seed0"
    run.mkdir()
    assert scwm("calibrate", run) == 1
    assert "`scwm evaluate`" in capsys.readouterr().err
    for name in ("features.npz", "metrics.json"):
        stored = trained / "results/runs/mannequins/scwm/seed0" / name
        (run / name).write_bytes(stored.read_bytes())
    assert scwm("calibrate --json", run) == 0
    printed = json.loads(capsys.readouterr().out)
    with (run / "calibration.csv").open(newline="") as file:
        rows = [{key: float(x) for key, x in row.items()} for row in csv.DictReader(file)]
    assert rows == printed and len(rows) == 51
    assert scwm("calibrate", run) == 0
    head, *lines, path = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "similarity" and path == str(run / "calibration.csv")
    shown = [[float(cell) for cell in line.split()] for line in lines]
    expected = [[row[COLUMNS[0]], *(100 * row[name] for name in COLUMNS[1:])] for row in rows]
    np.testing.assert_allclose(shown, expected, atol=6e-5)
    (run / "metrics.json").unlink()
    assert scwm("calibrate", run) == 1
    assert "The scores of a run are missing" in capsys.readouterr().err

"""The study of one model, by the command line, against the functions that it puts together."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from scwm.cli.main import main
from scwm.core.config import changed, write_yaml
from scwm.core.errors import ScwmError
from scwm.core.plugins import STRATEGIES
from scwm.core.seeding import derived_seed
from scwm.evaluation import misplaced_share, parsing_scores
from scwm.evaluation.evaluate import load_network
from scwm.evaluation.study import (
    SCORES,
    corrections,
    highest,
    keypoint_rows,
    parse_in_settings,
    pooled_features,
    pooled_map,
    study,
)
from scwm.method.labelling import label_images
from scwm.method.parsing import cascaded_clustering
from scwm.method.parsing.foreground_corrections.log_odds import correct_foreground
from scwm.method.parsing.parts import rows_in_body
from scwm.models.embedding import ImageBatches, embed
from scwm.training.checkpoint import Checkpoints
from scwm.training.trainer import train

SETTINGS = {
    "isp": (False, False),
    "foreground": (True, False),
    "space": (False, True),
    "both": (True, True),
}


RIVALS = ("bands", "rectangle", "from_rectangle")


@pytest.fixture(scope="module")
def run(tiny_config, toy_store, toy_weights, tmp_path_factory) -> Path:
    """A run of the full method after two epochs, with a temperature of the study's sweep."""
    folder = tmp_path_factory.mktemp("run")
    config = tiny_config("scwm", memory={"global_tau": 0.3})
    write_yaml(config, folder / "config.yaml")
    train(config, toy_store.split("train"), toy_weights, folder, Checkpoints(folder / "state", {}))
    return folder


@pytest.fixture(scope="module")
def found(run, toy_store) -> dict:
    """Its study."""
    assert main(["study", str(run), "--store", str(toy_store.folder)]) == 0
    return json.loads((run / "study.json").read_text())


def test_study_is_what_its_parts_give(run, toy_store, found):
    network, config = load_network(run / "model.pt")
    split = toy_store.split("train")
    images = ImageBatches(split.images, torch.device("cpu"))
    embedding = embed(network, images, pixels=True, precision="float32")
    labels = label_images(config, embedding, split.ids)
    kept = labels >= 0
    assert set(found["parsing"]) == {*SETTINGS, *RIVALS, "stripes", "truth"}
    for name, own in SETTINGS.items():
        cells = cascaded_clustering(
            embedding.pixels[kept], labels[kept], 3, *own,
            derived_seed(config.seed, "clustering", 0),
        ).numpy()  # fmt: skip
        truth = split.masks[kept.numpy()]
        expected = {
            **parsing_scores(cells, truth),
            "misplaced_share": misplaced_share(cells, truth),
            "foreground_share": (cells > 0).mean(),
        }
        scores = found["parsing"][name]
        assert set(scores) == set(SCORES) and scores["joint_part_nmi"] is None
        assert {key: scores[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    isp = found["parsing"]["isp"]
    assert isp["foreground_iou"] == found["parsing"]["space"]["foreground_iou"]

    memory = found["memory"]
    assert set(memory["strategies"]) == set(STRATEGIES.names())
    assert len(memory["sweep"]) == 10
    for kind in ("global", "part"):
        own = "hard_mining", getattr(config.memory, f"{kind}_tau")
        same_row = next(row for row in memory["sweep"] if (row["strategy"], row["tau"]) == own)
        for name in (f"{kind}_wrong_ratio", f"{kind}_hard_rank"):
            assert same_row[name] == memory["strategies"]["hard_mining"][name]
    uniform = memory["strategies"]["uniform"]
    assert uniform["global_hard_rank"] == 0
    assert uniform["global_wrong_ratio"] in (None, pytest.approx(1))


def test_rivals_of_the_corrections(tiny_config):
    """A rectangle that reads no image, its correction, and bands of the corrected foreground."""
    draws = torch.Generator().manual_seed(0)
    maps, groups = torch.randn(8, 16, 16, 8, generator=draws), torch.arange(8) // 4
    config = tiny_config("no_corrections")
    found = parse_in_settings(config, maps, groups)
    assert torch.equal(found["bands"] > 0, found["foreground"] > 0)
    rows = rows_in_body(found["bands"] > 0)
    parts = config.model.parts
    for row, label in zip(rows.flatten(), found["bands"].amax(2).flatten(), strict=True):
        assert label in (0, min(int(row * parts), parts - 1) + 1)
    height, width = maps.shape[2:]
    rectangle = torch.zeros(height, width, dtype=torch.uint8)
    margin = max(height // 16, 1)
    rectangle[margin : height - margin, width // 4 : width - width // 4] = 1
    assert (found["rectangle"] == rectangle).all()
    corrected = correct_foreground(maps, rectangle.bool().expand(8, -1, -1))
    assert torch.equal(found["from_rectangle"], corrected.byte())


def test_corrections_are_those_of_the_config(tiny_config):
    """Where it has none, the suite's own."""
    assert (
        corrections(tiny_config("no_corrections")) == SETTINGS == corrections(tiny_config("scwm"))
    )
    named = corrections(tiny_config(parsing={"space_correction": "body_rows"}))
    assert named == SETTINGS | {"space": (False, "body_rows"), "both": (True, "body_rows")}


def test_joints_are_scored_where_given(run, toy_store, found, tmp_path):
    """The other scores are those of the study without joints."""
    path, count = tmp_path / "points.mat", len(toy_store.split("train"))
    with h5py.File(path, "w") as file:
        file["pp"] = np.random.default_rng(0).uniform(1, 64, (count, 28))
    words = ["study", str(run), "--store", str(toy_store.folder), "--keypoints", str(path)]
    assert main(words) == 0
    again = json.loads((run / "study.json").read_text())
    assert again | {"parsing": None} == found | {"parsing": None}
    for name in SETTINGS:
        scores = again["parsing"][name]
        of_joints = {key: scores[key] for key in scores if key.startswith(("joint", "border"))}
        assert of_joints and found["parsing"][name] | of_joints == scores
        difference = scores["joints_in_foreground"] - scores["border_in_foreground"]
        assert scores["joints_minus_border"] == pytest.approx(difference, abs=1e-5)
    with h5py.File(path, "w") as file:
        file["pp"] = np.ones((count - 1, 28))
    with pytest.raises(ScwmError, match="training images"):
        study(run, toy_store, path)


def test_joints_of_development_data_are_those_of_the_same_images(toy_store, monkeypatch):
    """Its training images are some of the folder whose images the file lists by name."""
    assert keypoint_rows(toy_store).tolist() == [*range(len(toy_store.split("train")))]
    monkeypatch.setitem(toy_store.info, "dataset", "market1501_dev_small")
    paths = [path for part in ("train", "query", "gallery") for path in toy_store.split(part).paths]
    rows = keypoint_rows(toy_store)
    assert [sorted(paths)[row] for row in rows] == toy_store.split("train").paths
    assert rows.max() >= len(rows)


def test_pooled_features_are_standardised_means_of_each_part():
    rng = np.random.default_rng(0)
    maps, cells = rng.normal(size=(5, 4, 3, 2)), rng.integers(0, 3, (5, 3, 2))
    cells[0], cells[1:, 0, 0], cells[1:, 0, 1] = 1, 1, 2  # the first image lacks part 2
    means = {
        (i, part): maps[i][:, cells[i] == part].mean(1)
        for i in range(5) for part in (1, 2) if (cells[i] == part).any()
    }  # fmt: skip
    expected = np.zeros((5, 2, 4))
    for part in (1, 2):
        images = [i for i in range(5) if (i, part) in means]
        values = np.array([means[i, part] for i in images])
        values = (values - values.mean(0)) / values.std(0)
        expected[images, part - 1] = values / np.linalg.norm(values, axis=1, keepdims=True)
    expected = expected.reshape(5, -1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = pooled_features(torch.from_numpy(maps), torch.from_numpy(cells))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (expected[0, 4:] == 0).all()


def test_pooled_map_needs_two_cameras(toy_store):
    split = toy_store.split("train")
    rows = np.flatnonzero(split.cameras == split.cameras[0])
    maps = torch.randn(len(rows), 4, 3, 2)
    assert pooled_map(maps, torch.ones(len(rows), 3, 2), split, rows) is None
    rows = np.arange(len(split))
    maps = torch.zeros(len(split), 64, 3, 2)
    maps[np.arange(len(split)), np.unique(split.ids, return_inverse=True)[1]] = 1
    assert pooled_map(maps, torch.ones(len(split), 3, 2), split, rows) == pytest.approx(1)


def test_highest_takes_as_many_of_each_group():
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.random((6, 4, 3)))
    groups, foreground = torch.tensor([0, 1, 0, 2, 1, 0]), torch.from_numpy(rng.random((6, 4, 3)))
    foreground = foreground < 0.4
    found = highest(values, groups, foreground)
    for group in range(3):
        own = groups == group
        count = int(foreground[own].sum())
        assert int(found[own].sum()) == count
        assert set(values[own][found[own]].tolist()) == set(
            values[own].flatten().sort(descending=True).values[:count].tolist()
        )


@pytest.mark.parametrize("method", ["stripes", "global_only"])
def test_model_without_parsed_parts_is_told(tiny_config, toy_store, tmp_path, capsys, method):
    config = tiny_config(method)
    write_yaml(config, tmp_path / "config.yaml")
    checkpoints = Checkpoints(tmp_path / "state", {})
    untrained = changed(config, {"kind": "untrained"})
    train(untrained, toy_store.split("train"), None, tmp_path, checkpoints)
    assert main(["study", str(tmp_path), "--store", str(toy_store.folder)]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path) in error and "parses no parts" in error and "Traceback" not in error

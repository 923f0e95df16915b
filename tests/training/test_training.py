"""Training: the contract of every method, repeatability, and what is never read."""

import json
import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from made_up_runs import FROM_MASKS
from torch import Tensor
from trained_runs import KEY, history_of, model_of, same, untimed

from scwm.core.config import method_names
from scwm.core.errors import ScwmError
from scwm.core.settings import TrainingSettings
from scwm.evaluation.evaluate import evaluate, load_network, rank_features
from scwm.evaluation.sides import read_features
from scwm.method.objective import Objective
from scwm.training import trainer
from scwm.training.checkpoint import Checkpoints
from scwm.training.epoch import Epoch
from scwm.training.trainer import learning_rate

SCORES = {"mAP", "mAP_trapezoid", "mINP", "rank1", "rank5", "rank10"}
WEIGHTS = ("part_wrong_ratio", "part_hidden_ratio", "part_hard_rank")
OF_PARTS = ("effective_parts", "part_similarity", *WEIGHTS)
COLUMNS = [
    *("epoch", "iterations", "images"),
    *("loss", "loss_global", "loss_part", "loss_parsing", "loss_diversity", "loss_separation"),
    *("clusters", "unclustered_share", "ari", "nmi", *FROM_MASKS),
    *("effective_parts", "part_similarity", "wrong_share"),
    *("global_wrong_ratio", "global_hidden_ratio", "global_hard_rank", *WEIGHTS),
    *("learning_rate", "seconds_features", "seconds_pseudo_labels", "seconds_parsing"),
    *("seconds_training", "cpu_seconds"),
]


# The contract of every method


@pytest.mark.parametrize("method", method_names())
def test_contract_of_every_method(finished, tiny_config, method):
    run = finished(method)
    settings = tiny_config(method)
    parts, trained = settings.model.parts > 0, settings.kind == "trained"
    parsed = parts and settings.model.part_source == "parsed"

    rows = history_of(run)
    assert (run / "history.csv").read_text().splitlines()[0].split(",") == COLUMNS
    assert [row["epoch"] for row in rows] == (["1", "2"] if trained else [])
    for row in rows:
        absent = set() if parts else {"loss_part", "loss_separation", *OF_PARTS}
        absent |= set() if parsed else {"loss_parsing", "loss_diversity", *FROM_MASKS}
        if settings.refinement.neighbours:  # no memory moves
            absent |= {"global_hard_rank", "part_hard_rank"}
        unknown = {name for name in row if name.endswith("_ratio")}  # none wrong, none hidden
        assert {name for name, value in row.items() if not value} - unknown == absent - unknown
        assert not parts or 1 <= float(row["effective_parts"]) <= 3.001
        assert all(math.isfinite(float(value)) for value in row.values() if value)
    assert [float(row["learning_rate"]) for row in rows] == ([3.5e-4, 3.5e-5] if trained else [])

    text = (run / "metrics.json").read_text()
    metrics = json.loads(text)
    assert text == json.dumps(metrics, indent=2, sort_keys=True) + "\n"
    assert (metrics["dataset"], metrics["method"], metrics["seed"]) == ("toy", method, 0)
    assert metrics["default_feature"] == (settings.evaluation.feature if parts else "global")
    assert set(metrics["features"]) == ({"global", "parts", "both"} if parts else {"global"})
    for scores in metrics["features"].values():
        assert set(scores) == SCORES and all(0 <= value <= 1 for value in scores.values())
    default = metrics["features"][metrics["default_feature"]]
    assert {name: metrics[name] for name in SCORES} == default
    assert (metrics["parsing"] is not None) == parsed
    if parsed:
        assert set(metrics["parsing"]) == {"foreground_iou", "part_miou", "misplaced_share"}
        assert all(0 <= value <= 1 for value in metrics["parsing"].values())
    assert (metrics["parts"] is not None) == parts
    assert not parts or -1 <= metrics["parts"]["part_similarity"] <= 1
    assert (metrics["pseudo_labels"] is not None) == trained
    if trained:
        last = {key: float(rows[-1][key]) for key in metrics["pseudo_labels"]}
        assert metrics["pseudo_labels"] == pytest.approx(last, abs=1e-6)
        assert set(last) == {"clusters", "unclustered_share", "ari", "nmi"}

    sides = read_features(run / "features.npz")
    assert rank_features(sides) == {
        feature: pytest.approx(scores, abs=1e-6) for feature, scores in metrics["features"].items()
    }
    assert (sides["query"].embedding.part_features is not None) == parts
    assert (metrics["parameters"] is None) == (settings.kind not in ("trained", "untrained"))

    with np.load(run / "visuals.npz", allow_pickle=False) as visuals:
        shapes = {name: visuals[name].shape for name in visuals}
        assert {visuals[name].dtype for name in ("rank_query", "rank_gallery")} == {np.dtype("u1")}
        assert visuals["rank_correct"].dtype == bool
    assert shapes.pop("rank_query") == (8, 64, 32, 3)
    assert shapes.pop("rank_gallery") == (8, 10, 64, 32, 3)
    assert shapes.pop("rank_correct") == shapes.pop("rank_score") == (8, 10)
    assert shapes.pop("mask_images") == (12, 64, 32, 3)
    assert shapes.pop("mask_truth") == (12, 64, 32)
    assert shapes == ({"mask_parts": (12, 16, 8)} if parts else {})

    network, config = load_network(run / "model.pt")
    assert config == tiny_config(method) and same(network.state_dict(), model_of(run))


def test_oracle_trains_on_the_identities(finished):
    for row in history_of(finished("oracle")):
        assert (row["clusters"], float(row["ari"]), float(row["unclustered_share"])) == ("8", 1, 0)
        assert (float(row["wrong_share"]), row["global_wrong_ratio"]) == (0, "")


def test_methods_differ(finished):
    """Each ablation trains another model than the full method."""
    full = model_of(finished("scwm"))
    for method in set(method_names()) - {"scwm"}:
        assert not same(full, model_of(finished(method))), method


def test_training_learns(start, tiny_config, tmp_path):
    """With true labels and images that are not augmented, the loss falls."""
    config = tiny_config(
        "oracle",
        model={"parts": 0},
        training={"iterations": 5, "identities": 8, "instances": 4, "decay_every": 0},
        augment={"flip": 0, "pad": 0, "erase": 0},
    )
    losses = [float(row["loss_global"]) for row in history_of(start(config, tmp_path))]
    assert losses[1] < 0.5 * losses[0], losses


@pytest.mark.parametrize(
    ("warmup", "decay_every", "expected"),
    [(0, 0, [1, 1, 1, 1]), (4, 0, [0.25, 0.5, 0.75, 1]), (0, 2, [1, 1, 0.1, 0.1])],
)
def test_learning_rate_rises_and_decays(warmup, decay_every, expected):
    settings = TrainingSettings(
        learning_rate=1e-3, warmup=warmup, decay_every=decay_every, decay=0.1
    )
    rates = [learning_rate(settings, number) for number in range(4)]
    assert rates == pytest.approx([1e-3 * share for share in expected])


def test_every_epoch_is_logged_and_in_the_history(start, tiny_config, tmp_path, monkeypatch):
    seen = []

    def record(line):
        seen.append((line, [row["epoch"] for row in history_of(tmp_path)]))

    monkeypatch.setattr(trainer.logger, "info", record)
    start(tiny_config("scwm", training={"epochs": 3}), tmp_path)
    assert [epochs for _, epochs in seen] == [["1"], ["1", "2"], ["1", "2", "3"]]
    row = history_of(tmp_path)[0]
    line = seen[0][0]
    assert line.startswith(f"epoch 1/3: loss {float(row['loss']):.3g} (global ")
    assert f", {row['clusters']} clusters, " in line and line.endswith(" left")
    seconds = sum(float(value) for key, value in row.items() if key.startswith("seconds_"))
    assert int(line.split()[-3]) == pytest.approx(2 * seconds, abs=0.6)
    assert seen[2][0].endswith(" 0 s left")


def test_the_first_part_labels_count_as_parsing(start, tiny_config, tmp_path, monkeypatch):
    found = trainer.start_parts

    def slow(*arguments):
        time.sleep(2)
        return found(*arguments)

    monkeypatch.setattr(trainer, "start_parts", slow)
    start(tiny_config("scwm"), tmp_path)
    first, second = history_of(tmp_path)
    assert float(first["seconds_parsing"]) > 2 > float(second["seconds_parsing"])
    assert float(first["seconds_features"]) < 2


def test_images_of_small_batches_are_counted(toy_store, tiny_config):
    """With fewer classes than `training.identities` a batch is smaller."""
    config = tiny_config("global_only", training={"identities": 9, "instances": 2, "iterations": 3})
    labels = torch.arange(6) // 2
    epoch = Epoch(config, 0, labels, None, None, {})  # type: ignore[arg-type]
    drawn = [len(rows) for rows in epoch.batches(np.zeros(6, dtype=int))]
    assert drawn == [6, 6, 6] and epoch.images == 18


# One seed, one result


def test_one_seed_gives_one_result(finished, start, tiny_config, toy_store, tmp_path):
    run, again = finished("scwm"), start(tiny_config("scwm"), tmp_path)
    evaluate(again, toy_store)
    assert (again / "metrics.json").read_bytes() == (run / "metrics.json").read_bytes()
    assert same(model_of(again), model_of(run)) and untimed(again) == untimed(run)


def test_another_seed_gives_another_result(finished, start, tiny_config, tmp_path):
    other = start(tiny_config("global_only", seed=1), tmp_path)
    assert untimed(other) != untimed(finished("global_only"))


# What training does not read


def test_identities_cameras_and_masks_are_never_trained_on(
    finished, start, tiny_config, toy_store, tmp_path
):
    split, rng = toy_store.split("train"), np.random.default_rng(0)
    kinds = ("ari", "nmi", "label_", "mask_", "wrong", "hidden", "hard")
    measured = {name for name in COLUMNS if any(kind in name for kind in kinds)}
    blind = replace(
        split, ids=rng.permutation(split.ids), cameras=rng.permutation(split.cameras), masks=None
    )
    run, whole = start(tiny_config("scwm"), tmp_path, blind), finished("scwm")
    assert same(model_of(run), model_of(whole))
    for row, other in zip(untimed(run), untimed(whole), strict=True):
        differ = {name for name in row if row[name] != other[name]}
        assert {"ari", "nmi", *FROM_MASKS} <= differ <= measured


def test_unlabelled_images_train_the_same_model(finished, start, tiny_config, toy_store, tmp_path):
    split = toy_store.split("train")
    nobody = replace(split, ids=np.full(len(split), -1), masks=None)
    run, whole = start(tiny_config("scwm"), tmp_path / "scwm", nobody), finished("scwm")
    assert same(model_of(run), model_of(whole))
    for row, other in zip(untimed(run), untimed(whole), strict=True):
        differ = {name for name in row if row[name] != other[name]}
        assert {"ari", "nmi", "wrong_share", *FROM_MASKS} <= differ
        assert not any(row[name] for name in differ), "what needs the truth is empty"
    with pytest.raises(ScwmError, match="no identities, which this method trains with"):
        start(tiny_config("oracle"), tmp_path / "oracle", nobody)


def test_oracle_trains_on_other_identities_otherwise(
    finished, start, tiny_config, toy_store, tmp_path
):
    split = toy_store.split("train")
    other = replace(split, ids=np.random.default_rng(0).permutation(split.ids))
    run = start(tiny_config("oracle"), tmp_path, other)
    assert not same(model_of(run), model_of(finished("oracle")))


# Mistakes


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"eps": 0.001, "min_samples": 4}, "^0 cluster"), ({"eps": 0.999, "k1": 40}, "^1 cluster")],
    ids=["none clustered", "one cluster"],
)
def test_nothing_to_learn_is_an_error(start, tiny_config, tmp_path, settings, message):
    with pytest.raises(ScwmError, match=message) as caught:
        start(tiny_config("global_only", pseudo_labels=settings), tmp_path)
    assert "pseudo_labels.eps" in str(caught.value)


def test_one_image_is_an_error(start, tiny_config, toy_store, tmp_path):
    split = toy_store.split("train")
    alone = replace(split, images=split.images[:1], ids=split.ids[:1], masks=None)
    with pytest.raises(ScwmError, match="needs at least two images, the split has 1"):
        start(tiny_config("scwm"), tmp_path, alone)


def test_diverged_loss_is_an_error_and_keeps_the_checkpoint(
    start, tiny_config, tmp_path, monkeypatch
):
    losses, steps = Objective.losses, []

    def diverging(self: Objective, *arguments: Any) -> Tensor:
        steps.append(1)
        return losses(self, *arguments) * (math.nan if len(steps) > 2 else 1)

    monkeypatch.setattr(Objective, "losses", diverging)
    message = r"(?s)Not finite at step 1 of epoch 2: loss.*learning_rate"
    with pytest.raises(ScwmError, match=message):
        start(tiny_config("global_only"), tmp_path)
    state = Checkpoints(tmp_path / "state", KEY).load()
    assert state is not None and len(state["history"]) == 1
    assert all(torch.isfinite(value).all() for value in state["model"].values())


def test_model_of_something_else_is_an_error(tmp_path, toy_store):
    with pytest.raises(ScwmError, match=r"(?s)no model here.*model\.pt"):
        evaluate(tmp_path, toy_store)
    torch.save({"model": {}}, tmp_path / "model.pt")
    with pytest.raises(ScwmError, match="Not a model"):
        evaluate(tmp_path, toy_store)

"""Training: the contract of every method, repeatability, resuming, and what is never read."""

import csv
import io
import json
import math
import os
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_up_runs import FROM_MASKS
from torch import Tensor

from scwm import checkpoint
from scwm.checkpoint import Checkpoints
from scwm.config import Config, method_names
from scwm.data.store import StoreSplit
from scwm.epoch import Epoch
from scwm.errors import Interrupted, ScwmError
from scwm.objective import Objective
from scwm.scoring import evaluate, load_network, rank_features, read_features
from scwm.training import Trainer, train

KEY = {"run": "of a test"}
SCORES = {"mAP", "mAP_trapezoid", "mINP", "rank1", "rank5", "rank10"}
WEIGHTS = ("part_wrong_ratio", "part_hidden_ratio", "part_hard_rank")
OF_PARTS = ("effective_parts", "part_similarity", *WEIGHTS)
COLUMNS = [
    *("epoch", "iterations"),
    *("loss", "loss_global", "loss_part", "loss_parsing", "loss_diversity", "loss_separation"),
    *("clusters", "unclustered_share", "ari", "nmi", *FROM_MASKS),
    *("effective_parts", "part_similarity", "wrong_share"),
    *("global_wrong_ratio", "global_hidden_ratio", "global_hard_rank", *WEIGHTS),
    *("learning_rate", "seconds_features", "seconds_pseudo_labels", "seconds_parsing"),
    "seconds_training",
]


def history_of(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((run / "history.csv").read_text())))


def untimed(run: Path) -> list[dict[str, str]]:
    return [
        {k: v for k, v in row.items() if not k.startswith("seconds")} for row in history_of(run)
    ]


def model_of(run: Path) -> dict[str, Tensor]:
    return torch.load(run / "model.pt", weights_only=True)["model"]


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


@pytest.fixture(scope="session")
def start(toy_store, toy_weights):
    """``start(config, folder)``: train the run; ``split`` replaces the training images."""

    def run(config: Config, folder: Path, split: StoreSplit | None = None) -> Path:
        folder.mkdir(exist_ok=True)
        checkpoints = Checkpoints(folder / "state", KEY)
        train(config, split or toy_store.split("train"), toy_weights, folder, checkpoints)
        return folder

    return run


@pytest.fixture(scope="session")
def finished(start, tiny_config, toy_store, tmp_path_factory):
    """``finished(method)``: the folder of the method's run, trained and scored once."""
    folders: dict[str, Path] = {}

    def run(method: str) -> Path:
        if method not in folders:
            folders[method] = start(tiny_config(method), tmp_path_factory.mktemp(method))
            evaluate(folders[method], toy_store)
        return folders[method]

    return run


@pytest.fixture
def stop_in(monkeypatch):
    """``stop_in(epoch)``: every training is interrupted in that epoch; ``None`` lets it run."""
    start_epoch = Trainer.start_epoch

    def stop(last: int | None) -> None:
        def interrupted(self: Trainer, number: int) -> Epoch:
            if number + 1 == last:
                raise KeyboardInterrupt
            return start_epoch(self, number)

        monkeypatch.setattr(Trainer, "start_epoch", interrupted)

    return stop


# The contract of every method


@pytest.mark.parametrize("method", method_names())
def test_contract_of_every_method(finished, tiny_config, method):
    run = finished(method)
    settings = tiny_config(method)
    parts, trained = settings["model"]["parts"] > 0, settings["kind"] == "trained"
    parsed = parts and settings["model"]["part_source"] == "parsed"

    rows = history_of(run)
    assert (run / "history.csv").read_text().splitlines()[0].split(",") == COLUMNS
    assert [row["epoch"] for row in rows] == (["1", "2"] if trained else [])
    for row in rows:
        absent = set() if parts else {"loss_part", "loss_separation", *OF_PARTS}
        absent |= set() if parsed else {"loss_parsing", "loss_diversity", *FROM_MASKS}
        unknown = {name for name in row if name.endswith("_ratio")}  # none wrong, none hidden
        assert {name for name, value in row.items() if not value} - unknown == absent - unknown
        assert not parts or 1 <= float(row["effective_parts"]) <= 3.001
        assert all(math.isfinite(float(value)) for value in row.values() if value)
    assert [float(row["learning_rate"]) for row in rows] == ([3.5e-4, 3.5e-5] if trained else [])

    text = (run / "metrics.json").read_text()
    metrics = json.loads(text)
    assert text == json.dumps(metrics, indent=2, sort_keys=True) + "\n"
    assert (metrics["dataset"], metrics["method"], metrics["seed"]) == ("toy", method, 0)
    assert metrics["default_feature"] == ("both" if parts else "global")
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
    assert (metrics["parameters"] is None) == (settings["kind"] not in ("trained", "untrained"))

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
    assert list((run / "state").glob("*")) == [], "a finished run leaves no checkpoint"


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


# One seed, one result


def test_one_seed_gives_one_result(finished, start, tiny_config, toy_store, tmp_path):
    run, again = finished("scwm"), start(tiny_config("scwm"), tmp_path)
    evaluate(again, toy_store)
    assert (again / "metrics.json").read_bytes() == (run / "metrics.json").read_bytes()
    assert same(model_of(again), model_of(run)) and untimed(again) == untimed(run)


def test_another_seed_gives_another_result(finished, start, tiny_config, tmp_path):
    other = start(tiny_config("global_only", seed=1), tmp_path)
    assert untimed(other) != untimed(finished("global_only"))


# An interrupted run


@pytest.mark.parametrize("every", [0, 1], ids="parsing every {}".format)
def test_resumed_run_is_the_uninterrupted_one(
    finished, start, stop_in, tiny_config, toy_store, tmp_path, every
):
    """Also where the second epoch trains on the part labels of the start."""
    config = tiny_config("scwm", parsing={"every": every})
    whole = finished("scwm") if every == 0 else start(config, tmp_path / "whole")
    evaluate(whole, toy_store)
    stop_in(2)
    with pytest.raises(KeyboardInterrupt):
        start(config, tmp_path / "run")
    assert not (tmp_path / "run/model.pt").exists() and not (tmp_path / "run/history.csv").exists()
    stop_in(1)  # the first epoch is not run again
    run = start(config, tmp_path / "run")
    evaluate(run, toy_store)
    assert untimed(run) == untimed(whole) and same(model_of(run), model_of(whole))
    assert (run / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()


@pytest.mark.parametrize("step", [1, 3, 4])
@pytest.mark.parametrize("method", ["scwm", "global_only"])
def test_training_stopped_between_two_steps_is_the_uninterrupted_one(
    finished, start, tiny_config, toy_store, tmp_path, monkeypatch, method, step
):
    """SIGTERM while a step runs: it ends, its state is saved, and the same call goes on."""
    update, steps = Objective.update, []

    def signalled(self: Objective, *arguments: Any) -> None:
        update(self, *arguments)
        steps.append(1)
        if len(steps) == step:
            os.kill(os.getpid(), signal.SIGTERM)

    config, whole = tiny_config(method), finished(method)
    monkeypatch.setattr(Objective, "update", signalled)
    with pytest.raises(Interrupted, match="SIGTERM"):
        start(config, tmp_path)
    state = Checkpoints(tmp_path / "state", KEY).load()
    per_epoch = config["training"]["iterations"]
    assert state is not None and len(state["history"]) == step // per_epoch
    assert (state["epoch"] is not None) == bool(step % per_epoch)
    run = start(config, tmp_path)
    evaluate(run, toy_store)
    assert len(steps) == per_epoch * config["training"]["epochs"]  # none twice
    assert untimed(run) == untimed(whole)
    for name in ("model.pt", "metrics.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_checkpoint_after_every_step_changes_nothing(
    finished, start, tiny_config, toy_store, tmp_path, monkeypatch
):
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    run = start(tiny_config("scwm"), tmp_path)
    assert (run / "model.pt").read_bytes() == (finished("scwm") / "model.pt").read_bytes()


def test_generators_of_the_process_are_not_used(finished, start, tiny_config, tmp_path):
    """All chance comes from generators of a purpose, so that no other state has to be saved."""
    torch.manual_seed(123), np.random.seed(123), random.seed(123)  # noqa: NPY002
    run = start(tiny_config("scwm"), tmp_path)
    assert (run / "model.pt").read_bytes() == (finished("scwm") / "model.pt").read_bytes()


def test_damaged_checkpoint_falls_back_to_the_one_before(start, stop_in, tiny_config, tmp_path):
    config = tiny_config("global_only", training={"epochs": 3, "iterations": 1})
    whole = start(config, tmp_path / "whole")
    stop_in(3)
    with pytest.raises(KeyboardInterrupt):
        start(config, tmp_path / "run")
    newest = tmp_path / "run/state/checkpoint.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    stop_in(1)
    with pytest.warns(UserWarning, match="Damaged checkpoint"):
        run = start(config, tmp_path / "run")
    assert untimed(run) == untimed(whole) and same(model_of(run), model_of(whole))


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

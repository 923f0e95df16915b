"""A training whose global memory holds a slot for each image, as SpCL's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from processes import numbers_of

from scwm.method.labelling import label_images, trained_classes
from scwm.models.embedding import Embedding, embed
from scwm.training import trainer as training
from scwm.training.checkpoint import Checkpoints
from scwm.training.trainer import Trainer, build_network

OWN = {
    "pseudo_labels": {"eps_gap": 0.05, "unclustered": "own_class"},
    "memory": {"global_entries": "images", "global_strategy": "sequential"},
}


@pytest.fixture
def trainer(tiny_config, toy_store, toy_weights) -> Trainer:
    """Of `spcl`, at a radius at which most images are unclustered."""
    config = tiny_config("spcl")
    made = Trainer(config, build_network(config, toy_weights), toy_store.split("train"))
    made.restore(None)
    return made


def test_the_memory_starts_from_the_features_and_labels_the_next_epoch(trainer, monkeypatch):
    """Slots of images that no batch holds stay; the features are computed once."""
    features = embed(trainer.network, trainer.images, 128, trainer.precision).global_feature
    epoch = trainer.start_epoch(0)
    torch.testing.assert_close(epoch.objective.slots, F.normalize(features, dim=1))
    before, drawn = epoch.objective.slots.clone(), []
    batches = epoch.batches

    def recorded(cameras):
        for rows in batches(cameras):
            drawn.append(rows)
            yield rows

    monkeypatch.setattr(epoch, "batches", recorded)
    trainer.run_steps(epoch)
    moved = (trainer.slots != before).any(1).numpy()
    assert set(np.flatnonzero(moved)) == set(np.concatenate(drawn))

    limit = replace(trainer.reliability)
    assert limit.limit is not None
    monkeypatch.setattr(training, "embed", None)
    slots = trainer.slots.clone()
    again = trainer.start_epoch(1)
    found = label_images(
        trainer.config, Embedding(slots), trainer.split.ids, reliability=replace(limit)
    )
    assert torch.equal(again.labels, trained_classes(trainer.config, found))
    assert trainer.reliability == limit, "set in the first epoch"


def test_unclustered_images_are_trained_on_as_classes_of_their_own(trainer):
    epoch = trainer.start_epoch(0)
    names, counts = epoch.labels.unique(return_counts=True)
    assert torch.equal(names, torch.arange(len(names))) and (counts == 1).any()
    assert epoch.row["clusters"] == int((counts > 1).sum())
    share = float((counts == 1).sum()) / len(epoch.labels)
    assert epoch.row["unclustered_share"] == pytest.approx(share)
    alone = set(torch.nonzero(counts[epoch.labels] == 1)[:, 0].tolist())
    assert alone & set(np.concatenate(list(epoch.batches(trainer.split.cameras))).tolist())


def test_a_new_trainer_takes_up_memory_and_limit(trainer, toy_weights, tmp_path):
    trainer.run(Checkpoints(tmp_path, {}))
    state = Checkpoints(tmp_path, {}).load()
    network = build_network(trainer.config, toy_weights)
    other = Trainer(trainer.config, network, trainer.split)
    other.restore(state)
    assert other.reliability == trainer.reliability and other.reliability.limit is not None
    assert torch.equal(other.slots, trainer.slots) and len(other.slots) == len(trainer.images)
    one, two = (each.start_epoch(2) for each in (trainer, other))
    assert torch.equal(one.labels, two.labels)
    assert torch.equal(one.objective.slots, two.objective.slots)


def test_clusters_and_parts_train_next_to_a_memory_of_images(start, tiny_config, tmp_path):
    run = start(tiny_config("scwm", **OWN), tmp_path)
    rows = numbers_of(run)
    assert len(rows) == 2
    assert all(row["loss_global"] > 0 and row["loss_part"] > 0 for row in rows)


def test_single_images_are_enough_to_train_on(start, tiny_config, tmp_path):
    """No cluster at all is an error only where unclustered images sit out."""
    config = tiny_config("spcl", pseudo_labels={"min_samples": 40})
    rows = numbers_of(start(config, tmp_path))
    assert [row["clusters"] for row in rows] == [0, 0]
    assert all(row["unclustered_share"] == 1 and row["loss"] > 0 for row in rows)


def test_prototypes_of_clusters_and_of_single_images(start, tiny_config, tmp_path):
    """Each setting works without the others."""
    config = tiny_config("global_only", pseudo_labels=OWN["pseudo_labels"])
    assert all(np.isfinite(row["loss"]) for row in numbers_of(start(config, tmp_path / "single")))
    config = tiny_config("global_only", memory=OWN["memory"])
    assert all(np.isfinite(row["loss"]) for row in numbers_of(start(config, tmp_path / "images")))

"""A training whose losses compare features with classifiers, as PPLR's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from processes import numbers_of
from torch import Tensor
from trained_runs import model_of, same

from scwm.core.errors import ScwmError
from scwm.core.files import read_json
from scwm.data.augment import Augment
from scwm.method.camera_proxies import camera_proxies
from scwm.method.memory import cluster_means
from scwm.method.refinement import agreement_scores
from scwm.models.embedding import embed
from scwm.training.checkpoint import Checkpoints
from scwm.training.trainer import Trainer, build_network


@pytest.fixture
def trainer(tiny_config, toy_store, toy_weights) -> Trainer:
    config = tiny_config("pplr")
    made = Trainer(config, build_network(config, toy_weights), toy_store.split("train"))
    made.restore(None)
    return made


def weights_of(trainer: Trainer) -> list[Tensor]:
    return [weight.detach().clone() for weight in trainer.refinement.parameters()]


def test_an_epoch_starts_from_centroids_and_moves_only_the_classifiers(trainer):
    epoch = trainer.start_epoch(0)
    trainer.run_steps(epoch)
    epoch = trainer.start_epoch(1)
    found = embed(trainer.network, trainer.images, 128, trainer.precision)
    whole, parts = (
        cluster_means(f, epoch.labels) for f in (found.global_feature, found.part_features)
    )
    agreement = agreement_scores(found.global_feature, found.part_features, 20)
    assert torch.equal(trainer.refinement.agreement, agreement)
    before = weights_of(trainer)
    torch.testing.assert_close(before[0][: len(whole)], whole)
    torch.testing.assert_close(before[1][:, : len(whole)], parts.movedim(0, 1))
    memory = epoch.objective.whole.centroids.clone()
    trainer.run_steps(epoch)
    after = weights_of(trainer)
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert torch.equal(epoch.objective.whole.centroids, memory)


def test_a_new_trainer_takes_up_the_classifiers(trainer, toy_weights, tmp_path):
    trainer.run(Checkpoints(tmp_path, {}))
    other = Trainer(trainer.config, build_network(trainer.config, toy_weights), trainer.split)
    other.restore(Checkpoints(tmp_path, {}).load())
    pairs = zip(weights_of(trainer), weights_of(other), strict=True)
    assert all(torch.equal(mine, its) and bool(mine.any()) for mine, its in pairs)


def test_lengths_and_directions_are_the_necks_outputs(trainer):
    network, outputs = trainer.network, {}
    for name, neck in (("whole", network.neck), *enumerate(network.part_necks)):
        neck.register_forward_hook(lambda _m, _i, out, name=name: outputs.update({name: out}))
    images = Augment().normalise(trainer.images[slice(0, 8)])
    found = network.train()(images)
    whole = found.lengths[:, :1] * found.global_feature
    torch.testing.assert_close(whole, outputs["whole"])
    for k in range(3):
        part = found.lengths[:, 1 + k, None] * found.part_features[:, k]
        torch.testing.assert_close(part, outputs[k])
    torch.testing.assert_close(F.normalize(whole, dim=1), found.global_feature)
    assert network.eval()(images).lengths is None


def test_parsed_parts_refine_labels_too(start, tiny_config, tmp_path):
    config = tiny_config("pplr_parsed", refinement={"equal_epochs": 1})
    rows = numbers_of(start(config, tmp_path))
    assert len(rows) == 2
    names = ("loss_global", "loss_part", "loss_parsing", "loss_diversity")
    assert all(row[name] > 0 for row in rows for name in names)


# With cameras


def test_an_epoch_starts_from_the_proxies_of_its_clusters(tiny_config, toy_store, toy_weights):
    config, split = tiny_config("pplr_cameras"), toy_store.split("train")
    made = Trainer(config, build_network(config, toy_weights), split)
    made.restore(None)
    made.run_steps(made.start_epoch(0))
    labels = made.start_epoch(1).labels
    found = embed(made.network, made.images, 128, made.precision)
    expected = camera_proxies(found, labels, split.cameras)
    assert expected[2][:, 1].unique().tolist() == [1, 2], "proxies of both cameras"
    assert all(map(torch.equal, made.refinement.proxies, expected))


def test_only_the_method_with_cameras_reads_them(start, finished, tiny_config, toy_store, tmp_path):
    split = toy_store.split("train")
    unread = start(tiny_config("pplr"), tmp_path / "unread", replace(split, cameras=None))
    assert same(model_of(unread), model_of(finished("pplr")))
    other = replace(split, cameras=split.cameras[::-1] + (split.ids == split.ids[0]))
    read = start(tiny_config("pplr_cameras"), tmp_path / "read", other)
    assert not same(model_of(read), model_of(finished("pplr_cameras")))


@pytest.mark.parametrize("camera", [3, -1])
def test_cameras_that_cannot_be_compared_are_an_error(
    start, tiny_config, toy_store, tmp_path, camera
):
    split = toy_store.split("train")
    alone = replace(split, cameras=np.full_like(split.cameras, camera))
    with pytest.raises(ScwmError, match="fewer than two cameras are known"):
        start(tiny_config("pplr_cameras"), tmp_path / "run", alone)


@pytest.mark.parametrize(
    ("method", "note"), [("pplr", ""), ("pplr_cameras", "camera labels used in training")]
)
def test_results_say_that_training_used_cameras(finished, method, note):
    assert read_json(finished(method) / "metrics.json")["label_note"] == note

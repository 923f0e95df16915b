"""What training starts from, and the running average that it ends with."""

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scwm.core.seeding import derived_seed
from scwm.data.augment import Augment
from scwm.method.labelling import label_images, parse_images
from scwm.method.objective import Objective
from scwm.method.parsing import cascaded_clustering
from scwm.method.parsing.discriminant import LinearDiscriminant
from scwm.models.embedding import embed
from scwm.training import start
from scwm.training import trainer as training
from scwm.training.average import RunningAverage
from scwm.training.checkpoint import Checkpoints
from scwm.training.start import start_parts
from scwm.training.trainer import Trainer, build_network


def trainer_of(config, toy_store, toy_weights) -> Trainer:
    return Trainer(config, build_network(config, toy_weights), toy_store.split("train"))


def test_model_is_the_running_average_of_the_steps(
    tiny_config, toy_store, toy_weights, tmp_path, monkeypatch
):
    config = tiny_config("scwm", training={"average": 0.7, "epochs": 1, "iterations": 4})
    trainer, states = trainer_of(config, toy_store, toy_weights), []
    step = trainer.optimizer.step

    def recorded() -> None:
        step()
        states.append({k: v.detach().clone() for k, v in trainer.network.named_parameters()})

    monkeypatch.setattr(trainer.optimizer, "step", recorded)
    trainer.run(Checkpoints(tmp_path, {}))
    expected = states[0]
    for state in states[1:]:
        expected = {k: 0.7 * v + 0.3 * state[k] for k, v in expected.items()}
    assert len(states) == 4
    for name, value in trainer.model.named_parameters():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)


def test_the_running_average_labels_the_next_epoch(
    tiny_config, toy_store, toy_weights, tmp_path, monkeypatch
):
    """The network that takes the steps computes the features of the first epoch only."""
    config = tiny_config("scwm", training={"average": 0.7, "epochs": 2, "iterations": 2})
    trainer, networks = trainer_of(config, toy_store, toy_weights), []

    def recorded(network: object, *arguments: object, **options: object) -> object:
        networks.append(network)
        return embed(network, *arguments, **options)

    monkeypatch.setattr(training, "embed", recorded)
    trainer.run(Checkpoints(tmp_path, {}))
    assert networks[0] is trainer.network and networks[1] is trainer.model is not trainer.network


def test_a_step_has_the_moved_part_labels_and_the_weight_decay(
    tiny_config, toy_store, toy_weights, tmp_path, monkeypatch
):
    config = tiny_config("scwm", training={"epochs": 1, "iterations": 2, "weight_decay": 0.01})
    trainer, moved, used = trainer_of(config, toy_store, toy_weights), [], []
    apply, losses = Augment.apply, Objective.losses

    def applied(*arguments: object) -> object:
        moved.append(apply(*arguments))
        return moved[-1]

    def computed(self: Objective, output: object, part_labels: object, rows: object) -> object:
        used.append(part_labels)
        return losses(self, output, part_labels, rows)

    monkeypatch.setattr(Augment, "apply", applied)
    monkeypatch.setattr(Objective, "losses", computed)
    trainer.run(Checkpoints(tmp_path, {}))
    assert [group["weight_decay"] for group in trainer.optimizer.param_groups] == [0.01]
    assert len(used) == 2
    assert all(torch.equal(one, own[1]) for one, own in zip(used, moved, strict=True))


def test_no_average_keeps_the_last_step(tiny_config, toy_store, toy_weights, tmp_path):
    trainer = trainer_of(tiny_config("scwm"), toy_store, toy_weights)
    trainer.run(Checkpoints(tmp_path, {}))
    for one, two in zip(trainer.model.parameters(), trainer.network.parameters(), strict=True):
        assert torch.equal(one, two)


def test_average_is_that_of_torch():
    """But for counters, which it copies."""
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    ours = RunningAverage(network, 0.8)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for step in range(4):
        network(torch.randn(6, 3)).square().sum().backward()
        optimizer.step()
        ours.update(network)
        theirs.update_parameters(network)
        for name, value in theirs.module.state_dict().items():
            expected = value if value.is_floating_point() else torch.tensor(step + 1)
            assert torch.equal(ours.network.state_dict()[name], expected)


def test_parts_start_from_clusters_of_the_global_feature(tiny_config, toy_store, toy_weights):
    trainer = trainer_of(tiny_config("scwm"), toy_store, toy_weights)
    trainer.restore(None)
    embedding = embed(trainer.network, trainer.images, 32, pixels=True)
    ids = trainer.split.ids
    groups = label_images(trainer.config, embedding, ids, "global").numpy()
    alone = np.flatnonzero(groups < 0)
    groups[alone] = groups.max() + 1 + np.arange(len(alone))
    seed = derived_seed(0, "clustering", 0)
    expected = cascaded_clustering(embedding.pixels, groups, trainer.network.parts, seed=seed)

    labels, started = start_parts(trainer.config, trainer.network, embedding, ids)
    assert torch.equal(labels, expected)
    weights, biases = LinearDiscriminant(embedding.pixels.float()).fit(
        expected, trainer.network.parts + 1
    )
    head = trainer.network.head.classifier
    torch.testing.assert_close(head.weight[:, :, 0, 0], weights)
    torch.testing.assert_close(head.bias, biases)
    again = embed(trainer.network, trainer.images, 32)
    torch.testing.assert_close(started.part_features, again.part_features, atol=2e-2, rtol=0)


@pytest.mark.parametrize("every", [0, 1])
def test_parsing_is_done_once_or_every_epoch(
    tiny_config, toy_store, toy_weights, tmp_path, monkeypatch, every
):
    trainer = trainer_of(tiny_config("scwm", parsing={"every": every}), toy_store, toy_weights)
    parsed: list[int] = []
    record = lambda *given: parsed.append(given[3]) or parse_images(*given)  # noqa: E731
    for module in (start, training):
        monkeypatch.setattr(module, "parse_images", record)
    trainer.run(Checkpoints(tmp_path, {}))
    epochs = trainer.config.training.epochs
    assert epochs > 1 and parsed == ([*range(epochs)] if every else [0])


def test_stripes_start_with_centred_part_features(tiny_config, toy_store, toy_weights):
    """Their necks start from the training images too, so that no common direction is left."""
    trainer = trainer_of(tiny_config("stripes"), toy_store, toy_weights)
    trainer.restore(None)
    embedding = embed(trainer.network, trainer.images, 32, pixels=True)
    labels, started = start_parts(trainer.config, trainer.network, embedding, trainer.split.ids)
    assert labels is None
    pairs = embedding.part_features, started.part_features
    means = [features.mean(0).norm(dim=1) for features in pairs]
    assert (means[1] < 0.5).all() and (means[1] < means[0]).all()


def test_part_necks_start_from_mixed_batches(tiny_config, toy_store, toy_weights, monkeypatch):
    """The statistics see every image once, and in a batch not only neighbours of one person."""
    trainer = trainer_of(tiny_config("scwm", evaluation={"batch": 8}), toy_store, toy_weights)
    trainer.restore(None)
    embedding = embed(trainer.network, trainer.images, 32, pixels=True)
    seen: list[torch.Tensor] = []
    branch = trainer.network.part_branch
    spy = lambda whole, pixels: seen.append(whole) or branch(whole, pixels)  # noqa: E731
    monkeypatch.setattr(trainer.network, "part_branch", spy)
    start_parts(trainer.config, trainer.network, embedding, trainer.split.ids)
    count = len(seen) // 2
    whole = embedding.global_feature
    assert torch.equal(torch.cat(seen[count:]), whole)
    rows = (torch.cat(seen[:count])[:, None] == whole).all(2).int().argmax(1)
    assert torch.equal(rows.sort()[0], torch.arange(len(whole)))
    people = [len(np.unique(trainer.split.ids[batch.numpy()])) for batch in rows.split(8)]
    in_order = np.array_split(trainer.split.ids, range(8, len(whole), 8))
    assert np.mean(people) > np.mean([len(np.unique(ids)) for ids in in_order])

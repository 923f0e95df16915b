"""Groups of batch normalisation: each by itself, none of one image."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scwm.data.augment import Augment
from scwm.models import Output
from scwm.models.batch_norm import group_size
from scwm.training.trainer import Trainer, build_network
from scwm.training.virtual_batch import VirtualBatch


@pytest.mark.parametrize("size", [0, 4])
def test_virtual_batch_normalises_each_group_by_itself(tiny_config, toy_store, toy_weights, size):
    config = tiny_config("scwm", training={"virtual_batch": size})
    network = build_network(config, toy_weights)
    trainer = Trainer(config, network, toy_store.split("train"))
    images = Augment().normalise(trainer.images[slice(0, 8)])
    reference = copy.deepcopy(network.backbone).train()
    running = torch.zeros_like(network.neck.running_mean)
    network.train()
    seen = []
    for group in images.split(size or 8):
        pooled = network.pool(reference(group)[-1])
        mean, variance = pooled.mean(0), pooled.var(0, unbiased=False)
        seen.append(F.normalize((pooled - mean) / (variance + network.neck.eps).sqrt(), dim=1))
        running = 0.9 * running + 0.1 * mean
    output = trainer.forward(images, VirtualBatch(8, size))
    assert torch.allclose(output.global_feature, torch.cat(seen), atol=1e-4)
    assert torch.allclose(network.neck.running_mean, running, atol=1e-5)
    assert all(len(values) == 8 for values in output if values is not None)


def test_gradient_of_groups_is_that_of_the_whole_loss(tiny_config, toy_store, toy_weights):
    """Which torch finds through all groups at once."""
    config = tiny_config("scwm", training={"virtual_batch": 4})
    trainer = Trainer(config, build_network(config, toy_weights), toy_store.split("train"))
    network, images = trainer.network.train(), Augment().normalise(trainer.images[slice(0, 8)])

    def loss(output: Output) -> Tensor:
        parts, masks = output.part_features, output.masks
        assert parts is not None and masks is not None
        similar = output.global_feature @ output.global_feature.T
        return similar.exp().mean() + parts.mean(0).square().sum() + masks.square().mean()

    def gradients() -> dict[str, Tensor]:
        named = network.named_parameters()
        return {name: p.grad.clone() for name, p in named if p.grad is not None}

    batch = VirtualBatch(8, 4)
    batch.backward(loss(batch.forward(network, images)), trainer.parameters)
    found = gradients()
    network.zero_grad()
    whole = zip(*(network(group) for group in images.split(4)), strict=True)
    loss(Output(*(torch.cat(fields) for fields in whole))).backward()
    expected = gradients()
    assert found.keys() == expected.keys() and len(found) > 100
    for name, value in expected.items():
        assert (found[name] - value).norm() < 1e-4 * value.norm() + 1e-6, name
        assert found[name].stride() == network.get_parameter(name).stride()


def test_no_group_of_one():
    for count in range(2, 40):
        for wanted in range(1, 12):
            size = group_size(count, wanted)
            assert size >= wanted and count % size != 1
    assert [group_size(*pair) for pair in ((128, 64), (65, 64), (7, 2), (5, 0))] == [64, 65, 4, 3]

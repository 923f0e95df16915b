"""Batch normalisation of groups: each by itself, none of one image, over processes as in one."""

import copy

import pytest
import torch
import torch.nn.functional as F
from processes import in_processes
from torch import Tensor, nn

from scwm.core import distributed
from scwm.core.errors import ScwmError
from scwm.data.augment import Augment
from scwm.models.batch_norm import GhostBatchNorm, group_size, own_rows
from scwm.training.trainer import Trainer, build_network


def images_of(count: int) -> tuple[Tensor, Tensor, nn.BatchNorm2d]:
    """Images, weights of their normalised values in a loss, and a layer with a past."""
    chance = torch.Generator().manual_seed(0)
    images, weights = torch.randn(2, count, 5, 3, 2, generator=chance, dtype=torch.float64)
    layer = nn.BatchNorm2d(5, dtype=torch.float64)
    nn.init.normal_(layer.weight, generator=chance)
    nn.init.normal_(layer.running_mean, generator=chance)
    return images + 3, weights, layer


def by_groups(layer: nn.Module, images: Tensor, weights: Tensor, size: int) -> list[Tensor]:
    """Output, gradients and statistics of torch's layer, called for one group after the other."""
    images = images.clone().requires_grad_()
    output = torch.cat([layer(group) for group in images.split(size)])
    (output * weights).sum().backward()
    return [output, images.grad, *(p.grad for p in layer.parameters()), *layer.buffers()]


@pytest.mark.parametrize("size", [2, 4, 10, 0])
def test_ghost_batch_normalisation_is_torchs_of_each_group(size):
    images, weights, plain = images_of(10)
    ghost = GhostBatchNorm(copy.deepcopy(plain), size)
    expected = by_groups(plain, images, weights, size or 10)
    for found, value in zip(by_groups(ghost, images, weights, 10), expected, strict=True):
        torch.testing.assert_close(found, value)
    torch.testing.assert_close(ghost.eval()(images), plain.eval()(images))


@pytest.mark.parametrize("size", [2, 0])
def test_ghost_batch_normalisation_of_processes_is_that_of_one(size):
    """Of three processes with two groups each, and with a third of one group each."""
    images, weights, plain = images_of(12)
    ghost = GhostBatchNorm(copy.deepcopy(plain), size)
    output, arriving, *others = by_groups(plain, images, weights, size or 12)

    def check() -> None:
        rows = own_rows(12, size)
        found = by_groups(ghost, images[rows], weights[rows], 4)
        for parameter in ghost.parameters():
            torch.distributed.all_reduce(parameter.grad)
        expected = [output[rows], arriving[rows], *others]
        for value, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(value, wanted)

    assert in_processes(3, check) == [0, 0, 0]


@pytest.mark.parametrize("size", [0, 4, 8])
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
    output = trainer.forward(images)
    assert torch.allclose(output.global_feature, torch.cat(seen), atol=1e-4)
    assert torch.allclose(network.neck.running_mean, running, atol=1e-5)
    assert all(len(values) == 8 for values in output if values is not None)
    ghosts = {type(layer) for layer in network.modules() if "BatchNorm" in type(layer).__name__}
    assert (GhostBatchNorm in ghosts) == (size == 4)  # a whole batch is torch's own layers'
    assert network.state_dict().keys() == build_network(config, None).state_dict().keys()


def test_no_group_of_one():
    for count in range(2, 40):
        for wanted in range(1, 12):
            size = group_size(count, wanted)
            assert size >= wanted and count % size != 1
    assert [group_size(*pair) for pair in ((128, 64), (65, 64), (7, 2), (5, 0))] == [64, 65, 4, 3]


def test_shares_are_equal_and_of_whole_groups(monkeypatch):
    assert own_rows(7, 4) == slice(0, 7)
    monkeypatch.setattr(distributed, "count", lambda: 4)
    monkeypatch.setattr(distributed, "rank", lambda: 3)
    for size in (0, 2, 4, 16, 64):
        assert own_rows(16, size) == slice(12, 16)
    for images, size, message in (
        (16, 8, "a batch of 16 images equally in whole groups of 8"),
        (16, 6, "a batch of 16 images equally in whole groups of 6"),
        (18, 0, "a batch of 18 images equally"),
        (18, 2, "a batch of 18 images equally in whole groups of 2"),
    ):
        with pytest.raises(ScwmError, match=rf"(?s)4 processes cannot share {message}\.") as caught:
            own_rows(images, size)
        for key in ("virtual_batch", "identities", "instances"):
            assert f"training.{key}" in str(caught.value)

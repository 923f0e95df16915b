"""What several processes exchange: normalisation, features, state, and their shares of a batch."""

from functools import reduce

import numpy as np
import pytest
import torch
from processes import CPU, in_processes
from torch import Tensor, nn

from scwm.core import distributed
from scwm.core.errors import ScwmError
from scwm.models.embedding import ImageBatches, embed
from scwm.training.trainer import build_network
from scwm.training.virtual_batch import VirtualBatch, normalise_across


def test_batch_normalisation_over_processes_is_that_of_the_batch():
    images = torch.randn(7, 5, 3, 2, generator=torch.Generator().manual_seed(0)) + 3
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    layer, plain = nn.BatchNorm2d(5), nn.BatchNorm2d(5)
    for one in (layer, plain):
        nn.init.normal_(one.weight, generator=torch.Generator().manual_seed(2))
    expected_input = images.clone().requires_grad_()
    expected = plain(expected_input)
    (expected * weights).sum().backward()

    def check() -> None:
        rows = distributed.shares(7)[distributed.rank()]
        own = images[rows].clone().requires_grad_()
        output = normalise_across(layer, own)
        (distributed.gather(output, rows, 7) * weights).sum().backward()
        for parameter in layer.parameters():
            parameter.grad = distributed.exact_sum([parameter.grad], 3)
        torch.testing.assert_close(output, expected[rows])
        torch.testing.assert_close(own.grad, expected_input.grad[rows])
        torch.testing.assert_close(layer.weight.grad, plain.weight.grad, rtol=1e-5, atol=1e-5)
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(layer.state_dict()[name], value)

    assert in_processes(3, check) == [0, 0, 0]


def test_exact_sum_is_the_same_in_any_order_and_share():
    """Of vectors that float32 adds to different bits in different orders."""
    chance = torch.Generator().manual_seed(0)
    wide = 10.0 ** torch.randint(-12, 3, (7, 500), generator=chance)
    vectors = torch.randn(7, 500, generator=chance) * wide
    orders = [torch.randperm(7, generator=chance) for _ in range(5)]
    plain = {reduce(torch.add, vectors[order]).numpy().tobytes() for order in orders}
    assert len(plain) > 1
    expected = distributed.exact_sum(list(vectors), 7)
    exact = vectors.double().sum(0)
    assert ((expected - exact).abs() <= 2**-24 * exact.abs() + 7 * 2**-59 * vectors.max()).all()
    assert all(torch.equal(distributed.exact_sum(list(vectors[o]), 7), expected) for o in orders)

    def check() -> None:
        for order in orders:
            own = list(vectors[order][distributed.shares(7)[distributed.rank()]])
            assert torch.equal(distributed.exact_sum(own, 7), expected)

    assert in_processes(3, check) == [0, 0, 0]


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_exact_sum_of_what_is_not_finite_is_nan(value):
    def check() -> None:
        own = [torch.ones(2), torch.tensor([1.0, value if distributed.is_main() else 0.0])]
        assert distributed.exact_sum(own, 4).isnan().all()

    check()
    assert in_processes(2, check) == [0, 0]
    assert not distributed.exact_sum([torch.zeros(3)], 1).any()


def test_features_are_shared_out_and_put_together(tiny_config, toy_store, toy_weights):
    """To the last bit: each batch is computed by one process as it would be by one alone."""
    network = build_network(tiny_config("scwm"), toy_weights)
    images = ImageBatches(np.array(toy_store.split("train").images[:23]), CPU)
    expected = {batch: embed(network, images, batch, pixels=True) for batch in (4, 50)}

    def check() -> None:
        for batch, whole in expected.items():
            found = embed(network, images, batch, pixels=True)
            if distributed.is_main():
                for name, value in vars(whole).items():
                    assert torch.equal(getattr(found, name), value), name
                    assert getattr(found, name).stride() == value.stride(), name

    assert in_processes(3, check) == [0, 0, 0]


def test_state_of_the_first_process_is_that_of_all():
    def check() -> None:
        state = {
            "weights": torch.arange(3.0) * (distributed.rank() + 1),
            "history": [{"ari": None}],
        }
        taken = distributed.from_main(lambda: state, CPU)
        assert torch.equal(taken["weights"], torch.arange(3.0))
        assert taken["history"] == [{"ari": None}]
        assert distributed.highest(distributed.rank() * 5) == 10

    assert in_processes(3, check) == [0, 0, 0]


def test_one_process_exchanges_nothing():
    values: Tensor = torch.ones(2)
    assert distributed.total(values) is values and distributed.gather(values, slice(2), 2) is values
    assert distributed.highest(3) == 3 and distributed.from_main(lambda: values, CPU) is values
    assert distributed.shares(5) == [slice(0, 5)] and distributed.is_main()


def test_more_processes_than_groups_is_an_error(monkeypatch):
    monkeypatch.setattr(distributed, "count", lambda: 3)
    monkeypatch.setattr(distributed, "rank", lambda: 2)
    assert VirtualBatch(16, 4).rows == slice(12, 16)
    assert VirtualBatch(16, 0).rows == slice(11, 16)
    with pytest.raises(ScwmError, match=r"(?s)2 group\(s\) of 8: one has none.*virtual_batch"):
        VirtualBatch(16, 8)

"""The running average of a network's weights."""

from collections.abc import Iterator
from copy import deepcopy
from itertools import chain

import torch
from torch import Tensor, nn


class RunningAverage:
    """An exponential moving average of a network's parameters and buffers.

    It is the mean teacher of Tarvainen & Valpola (NeurIPS 2017). torch's `AveragedModel` computes
    the same average, but its counter of updates makes the host wait for a GPU at each step.

    Args:
        network: on its device; the average starts as a copy.
        momentum: weight of the old average, 0 to 1.

    Attributes:
        network: the averaged network.
        started: whether the average has taken a step; the first step replaces it.
    """

    def __init__(self, network: nn.Module, momentum: float) -> None:
        self.network, self.momentum, self.started = deepcopy(network), momentum, False

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average by the network's weights; integers, such as counters, are copied."""
        pairs = list(zip(_tensors(self.network), _tensors(network), strict=True))
        weight = 1 - self.momentum if self.started else 1.0
        averages, values = zip(*[p for p in pairs if p[0].is_floating_point()], strict=True)
        torch._foreach_lerp_(averages, values, weight)
        counters = [p for p in pairs if not p[0].is_floating_point()]
        if counters:
            own, others = zip(*counters, strict=True)
            torch._foreach_copy_(own, others)
        self.started = True

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Resume from the `state_dict` of the averaged network after at least one step."""
        self.network.load_state_dict(state)
        self.started = True


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    return chain(network.parameters(), network.buffers())

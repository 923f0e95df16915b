"""Batch normalisation: sizes of groups, and running statistics of all that passes."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def group_size(count: int, wanted: int) -> int:
    """The least size from `wanted` on, and from 2, that leaves no single one of `count` over:
    batch normalisation has no statistics of one image."""
    size = max(wanted, 2)
    while count % size == 1 < count:
        size += 1
    return size


@contextmanager
def calibrating(*necks: nn.BatchNorm1d) -> Iterator[None]:
    """Batch normalisations whose running statistics become those of all that passes inside."""
    momenta = [neck.momentum for neck in necks]
    for neck in necks:
        neck.reset_running_stats()
        neck.momentum = None  # a plain average over the batches
        neck.train()
    try:
        yield
    finally:
        for neck, momentum in zip(necks, momenta, strict=True):
            neck.momentum = momentum
            neck.eval()

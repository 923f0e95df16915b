"""Batch normalisation: sizes of groups, and running statistics over whole data sets."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def group_size(count: int, wanted: int) -> int:
    """Return the smallest group size from `wanted` and 2 on that leaves no group of one image.

    Batch normalisation has no statistics of one image.
    """
    size = max(wanted, 2)
    while count % size == 1 < count:
        size += 1
    return size


@contextmanager
def calibrating(*necks: nn.BatchNorm1d) -> Iterator[None]:
    """Set running statistics of batch normalisations to the statistics of all batches inside."""
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

"""Batch normalisation: over groups of a batch, over processes, and over whole data sets."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from scwm.core import distributed
from scwm.core.errors import ScwmError


def group_size(count: int, wanted: int) -> int:
    """Return the smallest group size from `wanted` and 2 on that leaves no group of one image.

    Batch normalisation has no statistics of one image.
    """
    size = max(wanted, 2)
    while count % size == 1 < count:
        size += 1
    return size


def own_rows(images: int, virtual_batch: int) -> slice:
    """Rows of a batch that are this process's: as many as every other's, in whole groups.

    Args:
        images: in the batch of all processes.
        virtual_batch: images a group; 0 = the whole batch.

    Raises:
        ScwmError: the batch cannot be divided so.
    """
    processes, size = distributed.count(), group_size(images, virtual_batch or images)
    share, left = divmod(images, processes)
    whole = size >= images
    if processes > 1 and (left or (not whole and share % size)):
        groups = "" if whole else f" in whole groups of {size}"
        raise ScwmError(
            f"{processes} processes cannot share a batch of {images} images equally{groups}.",
            "training.virtual_batch, training.identities, training.instances",
            "make identities x instances a multiple of processes x virtual_batch (of the number "
            "of processes where it is 0), with no more identities than there are clusters, or "
            "start fewer processes",
        )
    first = distributed.rank() * share
    return slice(first, first + share)


class GhostBatchNorm(_BatchNorm):
    """Ghost batch normalisation: over consecutive groups of a batch (Hoffer et al., NeurIPS 2017).

    Running statistics move by the groups in their order in the whole batch, as in one process. A
    group of more images than this process has is the whole batch, which is then gathered.

    Args:
        layer: the batch normalisation whose parameters and statistics are used.
        size: images a group; 0 = the whole batch.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def __init__(self, layer: Any, size: int) -> None:
        super().__init__(layer.num_features, layer.eps, layer.momentum)
        self.size, self.weight, self.bias = size, layer.weight, layer.bias
        for name, values in layer.named_buffers():
            setattr(self, name, values)

    def _check_input_dim(self, input: Tensor) -> None:
        """Maps and features are both normalised."""

    def forward(self, images: Tensor) -> Tensor:
        """(b,C) or (b,C,h,w), of this process -> the same shape."""
        if not self.training:
            return super().forward(images)
        count = len(images) * distributed.count()
        size = group_size(count, self.size or count)
        whole = size > len(images)
        batch = distributed.gather(images) if whole else images
        outputs, statistics = zip(*map(self._normalise, batch.split(size)), strict=True)
        seen = torch.stack(statistics)
        for mean, variance in seen if whole else distributed.gather(seen):
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
            self.num_batches_tracked += 1
        output = torch.cat(outputs)
        return output.chunk(distributed.count())[distributed.rank()] if whole else output

    def _normalise(self, group: Tensor) -> tuple[Tensor, Tensor]:
        """A group's output, and its mean and unbiased variance (2,C)."""
        seen = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        # A momentum of 1 leaves the group's own statistics there.
        output = F.batch_norm(group, *seen, self.weight, self.bias, True, 1.0, self.eps)
        return output, torch.stack(seen)


def normalise_in_groups(network: nn.Module, images: int, virtual_batch: int) -> None:
    """Make the batch normalisations in `network` those of virtual batches, in place.

    The whole batch of one process is left to the layers that are there. That of several takes
    torch's SyncBatchNorm on GPUs, which has no CPU version.

    Args:
        network: on its device.
        images: in the batch of all processes.
        virtual_batch: images a group; 0 = the whole batch.
    """
    several, whole = distributed.count() > 1, not 0 < virtual_batch < images
    if whole and several and next(network.parameters()).is_cuda:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
    elif several or not whole:
        _replace(network, 0 if whole else virtual_batch)


def _replace(network: nn.Module, size: int) -> None:
    for name, child in network.named_children():
        if isinstance(child, _BatchNorm):
            setattr(network, name, GhostBatchNorm(child, size))
        else:
            _replace(child, size)


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

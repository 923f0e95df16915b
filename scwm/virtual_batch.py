"""Batch normalisation over groups of a batch, the same in one process and in several."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from scwm import distributed
from scwm.errors import ScwmError
from scwm.inference import group_size
from scwm.models import Network, Output


class VirtualBatch:
    """How a batch is normalised, and which of its images are this process's.

    Groups of a batch go to the processes whole; a batch that is one group is shared out, and its
    statistics are taken over all processes.

    Args:
        images: in the batch of all processes.
        size: images that batch normalisation sees together; 0 = the whole batch.

    Attributes:
        rows: of this process.

    Raises:
        ScwmError: there are more processes than groups.
    """

    def __init__(self, images: int, size: int) -> None:
        self.images, self.size = images, group_size(images, size or images)
        self.groups = -(-images // self.size)
        step = self.size if self.groups > 1 else 1
        self.share = distributed.shares(-(-images // step))[distributed.rank()]
        if self.share.start == self.share.stop:
            raise ScwmError(
                f"{distributed.count()} processes share a batch of {images} images in "
                f"{self.groups} group(s) of {self.size}: one has none.",
                "training.virtual_batch, training.identities, training.instances",
                "lower training.virtual_batch, or set it to 0, or start fewer processes",
            )
        self.rows = slice(self.share.start * step, min(self.share.stop * step, images))

    def forward(self, network: Network, images: Tensor) -> Output:
        """`network` of this process's images (B,3,H,W), in training mode."""
        if distributed.count() == 1:
            return self._groups(network, images)
        with self._one(network) if self.groups == 1 else self._many(network):
            return self._groups(network, images)

    def gather(self, output: Output, cells: Tensor | None) -> tuple[Output, Tensor | None]:
        """Output and part labels (B,h,w) of the whole batch in every process; where there are
        several, without the pixel features, which no loss needs."""
        if distributed.count() == 1:
            return output, cells
        whole: list[Any] = [
            None if field is None else distributed.gather(field, self.rows, self.images)
            for field in (*output._replace(pixels=None), cells)
        ]
        return Output(*whole[:-1]), whole[-1]

    def _groups(self, network: Network, images: Tensor) -> Output:
        outputs: list[Output] = [network(group) for group in images.split(self.size)]
        if len(outputs) == 1:
            return outputs[0]
        whole, *optional = zip(*outputs, strict=True)
        return Output(
            torch.cat(whole), *(torch.cat(f) if f[0] is not None else None for f in optional)
        )

    @contextmanager
    def _one(self, network: Network) -> Iterator[None]:
        """Batch normalisations take their statistics over all processes."""
        layers = _layers(network)
        for layer in layers:
            layer.forward = partial(normalise_across, layer)
        try:
            yield
        finally:
            for layer in layers:
                del layer.forward

    @contextmanager
    def _many(self, network: Network) -> Iterator[None]:
        """Running statistics become what they are after all groups of all processes, in order: each
        moves them by ``r <- keep·r + (1 - keep)·s``, so that the n groups of a process add what is
        left of their move after the groups that follow."""
        layers = _layers(network)
        keep = 1 - layers[0].momentum  # torch's default in all of them
        own, later = self.share.stop - self.share.start, self.groups - self.share.stop
        before = _running(layers)
        yield
        moved = keep**later * (_running(layers) - keep**own * before)
        after = keep**self.groups * before + distributed.total(moved)
        for layer, values in zip(
            layers, after.split([2 * len(x.weight) for x in layers]), strict=True
        ):
            # New tensors: autograd would not take the old ones back changed.
            layer.running_mean, layer.running_var = values.clone().chunk(2)
            layer.num_batches_tracked += self.groups - own


def normalise_across(layer: Any, images: Tensor) -> Tensor:
    """A batch normalisation in training mode of images (B,C,…), its mean and variance taken over
    those of all processes; torch's SyncBatchNorm does the same on GPUs alone."""
    values = images.float()
    rest = [axis for axis in range(values.ndim) if axis != 1]
    shape = [1, -1, *[1] * (values.ndim - 2)]
    own = values.new_full((1,), values.numel() / values.shape[1])
    sums = distributed.total(torch.cat([values.sum(rest), own]))
    size = sums[-1]
    mean = sums[:-1] / size
    centred = values - mean.view(shape)
    variance = distributed.total(centred.square().sum(rest)) / size
    with torch.no_grad():
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(variance * size / (size - 1), layer.momentum)
        layer.num_batches_tracked += 1
    scale: Tensor = layer.weight * (variance + layer.eps).rsqrt()
    shift: Tensor = layer.bias
    return (centred * scale.view(shape) + shift.view(shape)).to(images.dtype)


def _layers(network: nn.Module) -> list[Any]:
    # Not list[_BatchNorm]: what torch declares optional is there in all of ours.
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def _running(layers: list[Any]) -> Tensor:
    """Running means and variances of all layers, one after the other."""
    return torch.cat(
        [values for layer in layers for values in (layer.running_mean, layer.running_var)]
    )

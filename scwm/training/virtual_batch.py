"""A batch in groups, normalised and differentiated one by one, alike in one process and several."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from scwm.core import distributed
from scwm.core.errors import ScwmError
from scwm.models import Network, Output
from scwm.models.batch_norm import group_size


class VirtualBatch:
    """How a batch is normalised and differentiated, and which of its images are this process's.

    Groups go to the processes whole. Each is computed by itself, and neither the sum of their
    gradients nor the running statistics depend on which process had which: any number of processes
    trains to the same bits. A batch that is one group is shared out, its statistics taken over all
    processes, which then train as one does but for rounding.

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
        """`network`, in training mode, of the whole batch in every process; of several groups or
        processes without the pixel features, which no loss needs.

        Args:
            images: (B,3,H,W), this process's.
        """
        whole: list[Any]
        if self.groups > 1:
            self._own = self._each_group(network, images)
            whole = [self._leaf(fields) for fields in zip(*self._own, strict=True)]
            self._whole = Output(*whole)
            return self._whole
        if distributed.count() == 1:
            return cast(Output, network(images))
        with self._one(network):
            whole = [self.gather(field) for field in network(images)._replace(pixels=None)]
        return Output(*whole)

    def gather(self, own: Tensor | None) -> Tensor | None:
        """The rows (B,…) of the whole batch in every process, from this process's (b,…)."""
        return None if own is None else distributed.gather(own, self.rows, self.images)

    def backward(self, loss: Tensor, parameters: list[nn.Parameter]) -> None:
        """Give `parameters` their gradients of a `loss`, a scalar of what `forward` returned."""
        loss.backward()
        if self.groups > 1:
            own = [self._gradients(number, parameters) for number in range(len(self._own))]
        elif distributed.count() > 1:
            own = [[parameter.grad for parameter in parameters]]
        else:
            return
        vectors = [torch.cat([x.flatten() for x in found if x is not None]) for found in own]
        total = distributed.exact_sum(vectors, max(self.groups, distributed.count()))
        used = [p for p, gradient in zip(parameters, own[0], strict=True) if gradient is not None]
        for parameter, values in zip(used, total.split([p.numel() for p in used]), strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(values.view_as(parameter))

    def _leaf(self, fields: tuple[Tensor, ...] | tuple[None, ...]) -> Tensor | None:
        """A field of the whole batch from this process's groups, at which `loss.backward` ends."""
        if fields[0] is None:
            return None
        own = torch.cat(fields).detach().contiguous()
        whole: Tensor = distributed.gather(own, self.rows, self.images)
        return whole.requires_grad_(fields[0].requires_grad)

    def _gradients(self, number: int, parameters: list[nn.Parameter]) -> list[Tensor | None]:
        """Of the loss by this process's group `number` alone; None of a parameter without one."""
        start = self.rows.start + number * self.size
        pairs = [
            (own, whole.grad[start : start + self.size])
            for own, whole in zip(self._own[number], self._whole, strict=True)
            if whole is not None and whole.grad is not None
        ]
        outputs, arriving = zip(*pairs, strict=True)
        return list(torch.autograd.grad(outputs, parameters, arriving, allow_unused=True))

    def _each_group(self, network: Network, images: Tensor) -> list[Output]:
        """Outputs of this process's groups. Running statistics become what they are after all
        groups of all processes in their order."""
        layers = _layers(network)
        momentum, running = layers[0].momentum, _running(layers)  # torch's default in all of them
        outputs, seen = [], []
        for layer in layers:
            layer.momentum = 1.0  # what runs is then the last group's alone
        for group in images.split(self.size):
            outputs.append(network(group)._replace(pixels=None))
            seen.append(_running(layers))
        for statistics in distributed.gather(torch.stack(seen), self.share, self.groups):
            running.lerp_(statistics, momentum)
        sizes = [2 * len(layer.weight) for layer in layers]
        for layer, values in zip(layers, running.split(sizes), strict=True):
            # New tensors: autograd would not take the old ones back changed.
            layer.running_mean, layer.running_var = values.clone().chunk(2)
            layer.num_batches_tracked += self.groups - len(outputs)
            layer.momentum = momentum
        return outputs

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

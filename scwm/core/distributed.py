"""Processes that train one run together, each on its share of every batch.

torchrun starts them and numbers them by RANK, WORLD_SIZE and LOCAL_RANK; without these there is one
process, and nothing here does anything. All of them draw the same batches, compute the losses of
the whole batch from gathered outputs, and sum the gradients that each finds for its own images: the
gradient is then that of one process, whatever their number. What decides labels or writes files is
done by the first process, and the others take its state over.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from scwm.core.errors import ScwmError

TIMEOUT = timedelta(hours=1)  # the others wait for the pseudo labels of the first


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """While inside, the processes that torchrun started exchange tensors; each has its own GPU.

    Raises:
        ScwmError: there are fewer GPUs than processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    backend = "gloo"
    if device.type == "cuda":
        number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if number >= there:
            raise ScwmError(
                f"Process {number + 1} of this machine finds {there} GPU(s).",
                "CUDA_VISIBLE_DEVICES, torchrun --nproc_per_node",
                "start as many processes as there are GPUs",
            )
        torch.cuda.set_device(number)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=TIMEOUT)
    yield
    dist.destroy_process_group()  # after an error the end of the process does it


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _joined() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if _joined() else 0


def is_main() -> bool:
    """Whether this is the first process, which decides and writes."""
    return rank() == 0


def shares(total: int) -> list[slice]:
    """Consecutive parts of `total` things, one a process, as equal as can be; the first process
    has one where there are any."""
    edges = [-(-total * number // count()) for number in range(count() + 1)]
    return [slice(*pair) for pair in pairwise(edges)]


def highest(number: int) -> int:
    """The largest of all processes' numbers; none continues before all have come here."""
    if count() == 1:
        return number
    numbers = torch.tensor([number])
    _exchange(dist.all_reduce, numbers, dist.ReduceOp.MAX)
    return int(numbers)


def from_main(make: Callable[[], Any], device: torch.device) -> Any:
    """What the first process makes, in all of them, its tensors on `device`.

    Args:
        make: returns what `torch.load(weights_only=True)` takes; only the first process calls it.
        device: where this process computes.
    """
    if count() == 1:
        return make()
    written = io.BytesIO()
    if is_main():
        torch.save(make(), written)
    content = [written.getvalue()]
    _exchange(dist.broadcast_object_list, content, 0)
    return torch.load(io.BytesIO(content[0]), map_location=device, weights_only=True)


def to_main(own: Tensor, sizes: list[int]) -> Tensor:
    """The rows of all processes one after the other, in the first process, stored in the order of
    `own`; elsewhere `own`.

    Args:
        own: (n,…), rows of this process.
        sizes: how many each has.
    """
    if not is_main():
        if len(own):
            _exchange(dist.send, own.contiguous(), 0)
        return own
    parts = [own, *(own.new_empty(size, *own.shape[1:]) for size in sizes[1:])]
    for source, part in enumerate(parts):
        if source and len(part):
            _exchange(dist.recv, part, source)
    last = own.ndim == 4 and own.is_contiguous(memory_format=torch.channels_last)
    stored = torch.channels_last if last else torch.contiguous_format
    return torch.cat(parts).contiguous(memory_format=stored)


def gather(own: Tensor, rows: slice, total: int) -> Tensor:
    """The `total` rows of all processes, in every process.

    The gradient of `own` is its rows of the gradient that arrives: each process computes the same
    of the same rows.

    Args:
        own: (n,…), rows of this process.
        rows: where they stand in the whole.
    """
    return own if count() == 1 else _Gathered.apply(own, rows, total)


def total(values: Tensor) -> Tensor:
    """The sum over all processes, of the same shape; its gradient is that of all processes'."""
    return values if count() == 1 else _Summed.apply(values)


@torch.no_grad()
def exact_sum(own: list[Tensor], terms: int) -> Tensor:
    """The sum of vectors of all processes, to the last bit the same in any order and share-out.

    Each is rounded to whole multiples of 2**-60·`terms` of the largest value in any, or finer, and
    whole numbers add without rounding (reproducible summation by a common grid; Demmel and Nguyen,
    ARITH 2013).

    Args:
        own: (n,) each, of this process.
        terms: how many vectors all processes have together.

    Returns:
        (n,), of nothing but NaN where a value is not finite.
    """
    largest = torch.stack([vector.abs().max() for vector in own]).max()
    largest.nan_to_num_(torch.inf, torch.inf)  # a maximum over processes may lose NaN
    if count() > 1:
        _exchange(dist.all_reduce, largest, dist.ReduceOp.MAX)
    room = 62 - (terms - 1).bit_length()
    scale = torch.exp2(room - torch.frexp(largest).exponent.double())
    whole = torch.zeros_like(own[0], dtype=torch.int64)
    for vector in own:
        whole += (vector.double() * scale).round().long()
    if count() > 1:
        _exchange(dist.all_reduce, whole)
    total = (whole.double() / scale).to(own[0])
    return torch.where(largest.isfinite(), total, torch.nan)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, rows: slice, total: int) -> Tensor:
        ctx.rows = rows
        whole = own.new_zeros(total, *own.shape[1:])
        whole[rows] = own
        _exchange(dist.all_reduce, whole)  # shares may differ in size, which all_gather refuses
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.rows], None, None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        _exchange(dist.all_reduce, summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].clone()
        _exchange(dist.all_reduce, summed)
        return summed


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _exchange(call: Callable[..., Any], *arguments: Any) -> None:
    try:
        call(*arguments)
    except RuntimeError as error:
        raise ScwmError(
            "Another process of this training was lost.",
            f"process {rank() + 1} of {count()}, which waited for it",
            "see what it says; the same command resumes from the last checkpoint",
        ) from error

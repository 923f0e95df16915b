"""Processes that train one run together, each on its share of every batch.

torchrun starts them and numbers them by RANK, WORLD_SIZE and LOCAL_RANK; without these there is one
process, and nothing here does anything. All of them draw the same batches and compute the losses of
the whole batch from gathered outputs; DistributedDataParallel averages the gradients. What decides
labels or writes files is done by the first process, which sends the others what it found.
"""

import ctypes
import io
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from scwm.core.errors import ScwmError

PR_SET_PDEATHSIG = 1  # of prctl: the signal that a process gets when its parent ends
OF_TORCHRUN = ("RANK", "MASTER_ADDR", "MASTER_PORT")
TIMEOUT = timedelta(days=1)  # the others wait for the pseudo labels of the first


@contextmanager
def together(device: torch.device) -> Iterator[None]:
    """While inside, the processes that torchrun started exchange tensors; each has its own GPU.

    Raises:
        ScwmError: torchrun did not set all its variables, there are fewer GPUs than processes, or
            another process was lost.
    """
    size = os.environ.get("WORLD_SIZE") or "1"
    if size == "1":
        yield
        return
    needed = (*OF_TORCHRUN, *["LOCAL_RANK"] * (device.type == "cuda"))
    if absent := [name for name in needed if not os.environ.get(name)]:
        raise ScwmError(
            f"WORLD_SIZE is {size}, but torchrun did not set {', '.join(absent)}.",
            "environment variable WORLD_SIZE",
            "unset it, or use `scwm launch`",
        )
    # If torchrun is killed, its processes must end too: their GPUs look free to the next job.
    with suppress(AttributeError, OSError):  # Linux only
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
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
    # Torch 2.14 deprecates the all_gather of `gather` for a function that older versions lack.
    warnings.filterwarnings("ignore", r"torch\.distributed\.nn\.functional", FutureWarning)
    dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield
    except RuntimeError as error:
        exchange = isinstance(error, dist.DistError) or "gloo" in str(error)
        if isinstance(error, ScwmError) or not exchange:
            raise
        raise ScwmError(
            f"Another process of this training was lost: {str(error).splitlines()[0]}",
            f"process {rank() + 1} of {count()}, which waited for it",
            "see what it says; the same command resumes from the last checkpoint",
        ) from error
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
    """Split `total` items into consecutive shares, one per process, as equal as possible.

    The first process has an item if there are any.
    """
    edges = [-(-total * number // count()) for number in range(count() + 1)]
    return [slice(*pair) for pair in pairwise(edges)]


def highest(number: int) -> int:
    """The largest of all processes' numbers; none continues before all have come here."""
    if count() == 1:
        return number
    numbers = torch.tensor([number])
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return int(numbers)


def from_main(make: Callable[[], Any], device: torch.device) -> Any:
    """Return in every process what the first process makes, with tensors on `device`.

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
    dist.broadcast_object_list(content, 0)
    return torch.load(io.BytesIO(content[0]), map_location=device, weights_only=True)


def to_main(own: Tensor, sizes: list[int]) -> Tensor:
    """Join the rows of all processes in the first process, stored in the order of `own`.

    The other processes return `own`.

    Args:
        own: (n,…), rows of this process.
        sizes: number of rows of each process.
    """
    if not is_main():
        if len(own):
            dist.send(own.contiguous(), 0)
        return own
    parts = [own, *(own.new_empty(size, *own.shape[1:]) for size in sizes[1:])]
    for source, part in enumerate(parts):
        if source and len(part):
            dist.recv(part, source)
    last = own.ndim == 4 and own.is_contiguous(memory_format=torch.channels_last)
    stored = torch.channels_last if last else torch.contiguous_format
    return torch.cat(parts).contiguous(memory_format=stored)


def gather(own: Tensor) -> Tensor:
    """Return the rows of all processes one after the other, in every process.

    The gradients of all processes come back summed. A loss that each computes of the whole batch
    then has, averaged over processes as DistributedDataParallel does, the gradient of one process.

    Args:
        own: (n,…), rows of this process, as many as every other's.
    """
    if count() == 1:
        return own
    # Imported here, as one process does without it.
    from torch.distributed.nn.functional import all_gather

    whole = torch.cat(all_gather(own))
    if whole.requires_grad:  # all_gather mixes up a gradient whose axes are permuted in memory
        whole.register_hook(torch.Tensor.contiguous)
    return whole


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()

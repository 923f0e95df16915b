"""Trainings in several processes that are forked here, and what they leave to compare."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from trained_runs import KEY, untimed

from scwm.core import distributed
from scwm.core.errors import Interrupted, ScwmError
from scwm.core.settings import Config
from scwm.data.store import StoreSplit
from scwm.method.objective import Objective
from scwm.models import Network
from scwm.training import trainer as training
from scwm.training.checkpoint import Checkpoints
from scwm.training.epoch import Epoch

CPU = torch.device("cpu")


def in_processes(count: int, work: Callable[..., Any], *arguments: Any) -> list[int | None]:
    """Call ``work(*arguments)`` in `count` processes that train together; their exit codes: 75 of
    a stopped one, 3 of one that lost another."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def member(rank: int) -> None:
        torch.set_num_threads(1)
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        try:
            with distributed.together(CPU):
                work(*arguments)
        except Interrupted:
            sys.exit(75)
        except ScwmError as error:
            if "Another process of this training was lost" in str(error):
                sys.exit(3)
            raise

    members = [get_context("fork").Process(target=member, args=(rank,)) for rank in range(count)]
    for process in members:
        process.start()
    for process in members:
        process.join(600)
        process.kill()
    return [process.exitcode for process in members]


@contextmanager
def float64() -> Iterator[None]:
    """Networks, losses and memories compute in float64 inside; labels are found in float32."""

    def doubled(function: Callable[..., Any], images: bool = False) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if images:
                arguments = (arguments[0], *(a.double() for a in arguments[1:]))
            with patch.object(Tensor, "float", Tensor.double):
                return function(*arguments)

        return call

    place = training.place
    with ExitStack() as stack:
        stack.enter_context(
            patch.object(training, "place", lambda network, to: place(network, to).double())
        )
        for name in ("forward", "part_branch"):
            wrapped = doubled(getattr(Network, name), images=True)
            stack.enter_context(patch.object(Network, name, wrapped))
        for name in ("__init__", "losses", "update"):
            stack.enter_context(patch.object(Objective, name, doubled(getattr(Objective, name))))
        for name in ("start_prototypes", "identity_means"):
            stack.enter_context(patch.object(training, name, doubled(getattr(training, name))))
        yield


def train_recorded(
    config: Config, split: StoreSplit, weights: Any, folder: Path, double: bool = False
) -> None:
    """Train a run; each process also writes the first gradient, and the pseudo labels and memories
    of every epoch."""
    finish, step = Epoch.finish, torch.optim.Adam.step
    records: list[dict[str, Any]] = []
    gradients: list[Tensor] = []

    def recorded(self: Epoch, *arguments: Any) -> dict[str, Any]:
        records.append({"labels": self.labels, **self.objective.state_dict()})
        return finish(self, *arguments)

    def stepped(self: torch.optim.Adam, *arguments: Any) -> Any:
        if not gradients:
            found = [p.grad.flatten() for p in self.param_groups[0]["params"] if p.grad is not None]
            gradients.append(torch.cat(found))
        return step(self, *arguments)

    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(patch.object(Epoch, "finish", recorded))
        stack.enter_context(patch.object(torch.optim.Adam, "step", stepped))
        if double:
            stack.enter_context(float64())
        training.train(config, split, weights, folder, Checkpoints(folder / "state", KEY))
    content = {"epochs": records, "gradient": gradients[0]}
    torch.save(content, folder / f"records{distributed.rank()}.pt")


def read(path: Path) -> Any:
    """What `torch.save` wrote."""
    return torch.load(path, weights_only=True)


def numbers_of(folder: Path) -> list[dict[str, float]]:
    """The rows of history.csv, without times and empty cells."""
    return [{k: float(v) for k, v in row.items() if v} for row in untimed(folder)]

"""Several processes train as one does: gradients, statistics, memories, labels, and their end."""

import csv
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scwm import distributed
from scwm.checkpoint import Checkpoints
from scwm.config import Config, write_yaml
from scwm.data.store import StoreSplit
from scwm.epoch import Epoch
from scwm.errors import Interrupted, ScwmError
from scwm.inference import ImageBatches, embed
from scwm.objective import Objective
from scwm.training import build_network, train
from scwm.virtual_batch import VirtualBatch, normalise_across

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
KEY = {"run": "of a test"}


def in_processes(count: int, work: Callable[..., Any], *arguments: Any) -> list[int | None]:
    """Call ``work(*arguments)`` in `count` processes that train together; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def member(rank: int) -> None:
        torch.set_num_threads(1)
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        with distributed.together(CPU):
            work(*arguments)

    members = [get_context("fork").Process(target=member, args=(rank,)) for rank in range(count)]
    for process in members:
        process.start()
    for process in members:
        process.join(600)
        process.kill()
    return [process.exitcode for process in members]


def train_recorded(config: Config, split: StoreSplit, weights: Any, folder: Path) -> None:
    """Train a run; each process also writes the first gradient, and the pseudo labels and memories
    of every epoch."""
    finish, step, records = Epoch.finish, torch.optim.Adam.step, []
    gradients: list[Tensor] = []

    def recorded(self: Epoch, *arguments: Any) -> dict[str, Any]:
        records.append({"labels": self.labels, **self.objective.state_dict()})
        return finish(self, *arguments)

    def stepped(self: torch.optim.Adam, *arguments: Any) -> Any:
        if not gradients:
            found = [p.grad.flatten() for p in self.param_groups[0]["params"] if p.grad is not None]
            gradients.append(torch.cat(found))
        return step(self, *arguments)

    Epoch.finish, torch.optim.Adam.step = recorded, stepped  # type: ignore[method-assign]
    try:
        folder.mkdir(exist_ok=True)
        train(config, split, weights, folder, Checkpoints(folder / "state", KEY))
    finally:
        Epoch.finish, torch.optim.Adam.step = finish, step  # type: ignore[method-assign]
    content = {"epochs": records, "gradients": gradients}
    torch.save(content, folder / f"records{distributed.rank()}.pt")


def read(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def history_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: float(v) for k, v in r.items() if v and not k.startswith("sec")} for r in rows]


BATCH_NORM = {  # images that it sees together, of a batch of 16; whether the backbone's moves
    "groups": ("batch", 4),
    "frozen, whole batch": ("frozen", 0),
}


@pytest.fixture(scope="session")
def steps_of(tiny_config):
    """``steps_of(kind)``: the config of twenty steps in two epochs.

    Adam's steps have the size of the learning rate, however small a gradient is, so that rounding
    decides where a gradient near 0 goes; at this rate two trainings stay side by side.
    """

    def config(kind: str, method: str = "scwm") -> Config:
        batch_norm, group = BATCH_NORM[kind]
        return tiny_config(
            method,
            model={"batch_norm": batch_norm},
            training={
                **{"iterations": 10, "identities": 8, "virtual_batch": group},
                **{"average": 0.5, "decay_every": 0, "learning_rate": 1e-7},
            },
            evaluation={"batch": 20},
        )

    return config


@pytest.mark.parametrize(
    ("kind", "counts"),
    [("groups", (2, 4)), ("frozen, whole batch", (3,))],
)
def test_processes_train_as_one_does(steps_of, toy_store, toy_weights, tmp_path, kind, counts):
    """Also where the batch cannot be shared out equally: 16 images, 3 processes.

    A whole batch through an untrained backbone of 52 normalisations is no case: each magnifies the
    rounding of the one before. The layer itself is compared below.
    """
    run = steps_of(kind), toy_store.split("train"), toy_weights
    train_recorded(*run, tmp_path / "1")
    alone, expected = read(tmp_path / "1/records0.pt"), read(tmp_path / "1/model.pt")["model"]
    start = build_network(run[0], toy_weights).backbone.state_dict()
    for count in counts:
        folder = tmp_path / str(count)
        assert in_processes(count, train_recorded, *run, folder) == [0] * count

        first, *others = (read(folder / f"records{rank}.pt") for rank in range(count))
        for other in others:  # to the last bit
            assert torch.equal(first["gradients"][0], other["gradients"][0])
            for mine, its in zip(first["epochs"], other["epochs"], strict=True):
                assert all(torch.equal(mine[name], its[name]) for name in mine)
        apart = (first["gradients"][0] - alone["gradients"][0]).norm()
        # Features of an untrained network differ little: a neck magnifies their rounding.
        assert apart < alone["gradients"][0].norm() * (1e-2 if "frozen" in kind else 1e-5)
        for mine, its in zip(first["epochs"], alone["epochs"], strict=True):
            assert torch.equal(mine["labels"], its["labels"])
            for name in its.keys() - {"labels"}:
                torch.testing.assert_close(mine[name], its[name], atol=5e-4, rtol=0)

        found, apart, moved = read(folder / "model.pt")["model"], 0.0, 0.0
        for name, value in expected.items():
            tolerance = 1e-3 if "running" in name else 0
            torch.testing.assert_close(found[name], value, atol=1e-4, rtol=tolerance, msg=name)
            if name.startswith("backbone.") and "running" not in name:
                apart += float((found[name] - value).square().sum())
                moved += float((start[name.removeprefix("backbone.")] - value).square().sum())
        assert 0 < apart < 0.05**2 * moved
        for row, its in zip(history_of(folder), history_of(tmp_path / "1"), strict=True):
            assert row == pytest.approx(its, abs=1e-3)
            for name in (name for name in its if name.startswith("loss")):
                assert row[name] == pytest.approx(its[name], rel=1e-4), name


# A process that is lost, a signal to one of them


def test_lost_process_ends_the_others_and_the_run_goes_on(
    steps_of, toy_store, toy_weights, tmp_path
):
    """By a kill the last checkpoint is gone on from; by SIGTERM the step is: same bytes."""
    run = steps_of("groups", "global_only"), toy_store.split("train"), toy_weights
    update, steps = Objective.update, []

    def disturbed(number: int, folder: Path) -> None:
        """Process 2 gets the signal at step 13, in the second epoch."""

        def signalled(self: Objective, *arguments: Any) -> None:
            update(self, *arguments)
            steps.append(1)
            if len(steps) == 13 and distributed.rank() == 1:
                os.kill(os.getpid(), number)

        Objective.update = signalled  # type: ignore[method-assign]
        try:
            train_recorded(*run, folder)
        except Interrupted as error:
            assert "SIGTERM" in str(error)
            sys.exit(75)
        except ScwmError as error:
            assert "Another process of this training was lost" in str(error)
            sys.exit(3)

    assert in_processes(2, train_recorded, *run, tmp_path / "whole") == [0, 0]
    for number, codes in ((signal.SIGKILL, [3, -9]), (signal.SIGTERM, [75, 75])):
        folder = tmp_path / number.name
        assert in_processes(2, disturbed, number, folder) == codes
        state = Checkpoints(folder / "state", KEY).load()
        assert state is not None and len(state["history"]) == 1
        assert (state["epoch"] is not None) == (number == signal.SIGTERM)
        assert in_processes(2, train_recorded, *run, folder) == [0, 0]
        assert (folder / "model.pt").read_bytes() == (tmp_path / "whole/model.pt").read_bytes()


def test_torchrun_trains_from_the_command_line(steps_of, toy_store, toy_weights, tmp_path):
    """One command leases, starts and joins the processes; the first writes, once."""
    config = steps_of("frozen, whole batch", "global_only")
    config["training"] |= {"epochs": 1, "iterations": 2}
    write_yaml(config, tmp_path / "run/config.yaml")
    torch.save(toy_weights, tmp_path / "weights.pt")
    words = ["launch", "--processes", "2", "--", "train", "run", "--store", str(toy_store.folder)]
    words += ["--weights", "weights.pt"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "scwm", *words],
        cwd=tmp_path,
        env=environment | {"SCWM_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert '"processes": 2' in (tmp_path / "run/train.json").read_text()
    assert len(history_of(tmp_path / "run")) == 1
    assert not list((tmp_path / ".scwm/state").glob("*/*"))


# The parts


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
        distributed.sum_gradients(layer.parameters())
        torch.testing.assert_close(output, expected[rows])
        torch.testing.assert_close(own.grad, expected_input.grad[rows])
        torch.testing.assert_close(layer.weight.grad, plain.weight.grad, rtol=1e-5, atol=1e-5)
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(layer.state_dict()[name], value)

    assert in_processes(3, check) == [0, 0, 0]


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

    assert in_processes(3, check) == [0, 0, 0]


def test_state_of_the_first_process_is_that_of_all():
    def check() -> None:
        state = {
            "weights": torch.arange(3.0) * (distributed.rank() + 1),
            "history": [{"ari": None}],
        }
        taken = distributed.from_main(lambda: state)
        assert (taken is None) == distributed.is_main()
        if taken is not None:
            assert torch.equal(taken["weights"], torch.arange(3.0))
            assert taken["history"] == [{"ari": None}]
        assert distributed.highest(distributed.rank() * 5) == 10

    assert in_processes(3, check) == [0, 0, 0]


def test_one_process_exchanges_nothing():
    values: Tensor = torch.ones(2)
    assert distributed.total(values) is values and distributed.gather(values, slice(2), 2) is values
    assert distributed.highest(3) == 3 and distributed.from_main(lambda: 1 / 0) is None
    assert distributed.shares(5) == [slice(0, 5)] and distributed.is_main()


def test_more_processes_than_groups_is_an_error(monkeypatch):
    monkeypatch.setattr(distributed, "count", lambda: 3)
    monkeypatch.setattr(distributed, "rank", lambda: 2)
    assert VirtualBatch(16, 4).rows == slice(12, 16)
    assert VirtualBatch(16, 0).rows == slice(11, 16)
    with pytest.raises(ScwmError, match=r"(?s)2 group\(s\) of 8: one has none.*virtual_batch"):
        VirtualBatch(16, 8)

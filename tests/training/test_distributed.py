"""Several processes train as one does, and what becomes of them when one is lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import in_processes, numbers_of, read, train_recorded
from trained_runs import KEY, model_of, untimed

from scwm.core import distributed
from scwm.core.config import Config, write_yaml
from scwm.core.errors import Interrupted, ScwmError
from scwm.method.objective import Objective
from scwm.training.checkpoint import Checkpoints

ROOT = Path(__file__).resolve().parents[2]
BATCH_NORM = {  # images that it sees together, of a batch of 16; whether the backbone's moves
    "groups": ("batch", 4),
    "whole batch": ("batch", 0),
    "frozen": ("frozen", 0),
}


@pytest.fixture(scope="session")
def steps_of(tiny_config):
    """``steps_of(kind, epochs)``: the config of twenty steps in as many epochs."""

    def config(kind: str, epochs: int = 2, method: str = "scwm", **settings: Any) -> Config:
        batch_norm, group = BATCH_NORM[kind]
        steps = {"epochs": epochs, "iterations": 20 // epochs, "average": 0.5, "decay_every": 0}
        return tiny_config(
            method,
            model={"batch_norm": batch_norm},
            training=steps | {"identities": 8, "virtual_batch": group} | settings,
            evaluation={"batch": 20},
        )

    return config


def test_processes_train_to_the_bits_of_one(steps_of, toy_store, toy_weights, tmp_path):
    """In float32 at the learning rate of real runs, twenty steps over two epochs, where batch
    normalisation sees groups."""
    run = steps_of("groups"), toy_store.split("train"), toy_weights
    train_recorded(*run, tmp_path / "1")
    expected = read(tmp_path / "1/records0.pt")
    for count in (2, 3, 4):
        folder = tmp_path / str(count)
        assert in_processes(count, train_recorded, *run, folder) == [0] * count
        for rank in range(count):
            assert same(read(folder / f"records{rank}.pt"), expected)
        assert numbers_of(folder) == numbers_of(tmp_path / "1")
        assert (folder / "model.pt").read_bytes() == (tmp_path / "1/model.pt").read_bytes()


def same(found: Any, expected: Any) -> bool:
    """Whether nested records agree to the last bit."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[k], expected[k]) for k in found)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return torch.equal(found, expected)


@pytest.mark.parametrize(
    ("kind", "epochs", "count", "tolerance"),
    [
        ("whole batch", 1, 2, 1e-4),
        ("frozen", 2, 3, 1e-9),  # 16 images cannot be shared out equally
    ],
)
def test_processes_train_as_one_does(
    steps_of, toy_store, toy_weights, tmp_path, kind, epochs, count, tolerance
):
    """Twenty steps at the learning rate of real runs, in float64, of a batch that is one group.

    The 52 batch normalisations of an untrained network on 16 images magnify a difference
    some ten thousand times in ten steps, and a second epoch would start from part labels that may
    flip; frozen ones do neither, which leaves the differences where rounding puts them.
    """
    run = steps_of(kind, epochs), toy_store.split("train"), toy_weights
    train_recorded(*run, tmp_path / "1", True)
    folder = tmp_path / "all"
    assert in_processes(count, train_recorded, *run, folder, True) == [0] * count
    compare(folder, tmp_path / "1", count, tolerance, gradient=1e-11)


def compare(folder: Path, alone: Path, count: int, tolerance: float, gradient: float) -> None:
    """Processes agree with each other to the last bit, and with one process alone: weights within
    `tolerance`, the first gradient within a share of its length."""
    expected = read(alone / "records0.pt")
    first, *others = (read(folder / f"records{rank}.pt") for rank in range(count))
    for other in others:
        assert torch.equal(first["gradient"], other["gradient"])
        for mine, its in zip(first["epochs"], other["epochs"], strict=True):
            assert all(torch.equal(mine[name], its[name]) for name in mine)
    apart = (first["gradient"] - expected["gradient"]).norm()
    assert apart < gradient * expected["gradient"].norm()
    for mine, its in zip(first["epochs"], expected["epochs"], strict=True):
        assert torch.equal(mine["labels"], its["labels"])
        for name in its.keys() - {"labels"}:
            torch.testing.assert_close(mine[name], its[name], atol=50 * tolerance, rtol=0)
    found, values = model_of(folder), model_of(alone)
    for name, value in values.items():
        relative = 10 * tolerance if "running" in name else 0
        torch.testing.assert_close(found[name], value, atol=tolerance, rtol=relative, msg=name)
    for row, its in zip(numbers_of(folder), numbers_of(alone), strict=True):
        assert row == pytest.approx(its, abs=1e-3)
        for name in (name for name in its if name.startswith("loss")):
            assert row[name] == pytest.approx(its[name], rel=1e-4), name


def test_lost_process_ends_the_others_and_the_run_goes_on(
    steps_of, toy_store, toy_weights, tmp_path
):
    """By a kill or by SIGTERM: the last checkpoint is resumed from, to the same bytes, in whatever
    number of processes."""
    run = steps_of("groups", method="global_only"), toy_store.split("train"), toy_weights
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

    train_recorded(*run, tmp_path / "whole")
    ends = (signal.SIGKILL, [3, -9], 2), (signal.SIGTERM, [75, 75], 1)
    for number, codes, count in ends:
        folder = tmp_path / number.name
        assert in_processes(2, disturbed, number, folder) == codes
        state = Checkpoints(folder / "state", KEY).load()
        assert state is not None and len(state["history"]) == 1
        assert in_processes(count, train_recorded, *run, folder) == [0] * count
        assert (folder / "model.pt").read_bytes() == (tmp_path / "whole/model.pt").read_bytes()


def test_torchrun_trains_from_the_command_line(steps_of, toy_store, toy_weights, tmp_path):
    """One command leases, starts and joins the processes; the first writes, once."""
    config = steps_of("frozen", method="global_only")
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
    assert len(untimed(tmp_path / "run")) == 1
    assert not list((tmp_path / ".scwm/state").glob("*/*"))

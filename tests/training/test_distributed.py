"""Several processes train as one does, and what becomes of them when one is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import in_processes, numbers_of, read, train_recorded
from small_backbone import smooth_backbone
from trained_runs import KEY, model_of, untimed

from scwm.core import distributed
from scwm.core.config import changed, write_yaml
from scwm.core.settings import Config
from scwm.method.objective import Objective
from scwm.models.backbones import mobilenet_v2
from scwm.training.checkpoint import Checkpoints

ROOT = Path(__file__).resolve().parents[2]
BATCH_NORM = {  # whether the backbone's moves; images that it sees together, of a batch of 16
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


@pytest.fixture
def small(monkeypatch) -> None:
    """MobileNetV2 is the smooth backbone."""
    monkeypatch.setattr(mobilenet_v2, "build", smooth_backbone)


@pytest.mark.parametrize("kind", ["groups", "whole batch", "frozen"])
def test_processes_follow_one(steps_of, toy_store, toy_weights, tmp_path, monkeypatch, kind):
    """Two epochs at the learning rate of real runs, in float64: twenty steps, or six of a frozen
    MobileNetV2, whose convolutions are slow in float64.

    The 52 batch normalisations of an untrained MobileNetV2 on groups of four images magnify a
    difference ten million times in ten steps: only a frozen one can be compared.
    """
    if kind != "frozen":
        monkeypatch.setattr(mobilenet_v2, "build", smooth_backbone)
    weights = toy_weights if kind == "frozen" else None
    steps = {"iterations": 3} if kind == "frozen" else {}
    run = steps_of(kind, **steps), toy_store.split("train"), weights
    train_recorded(*run, tmp_path / "1", True)
    for count in (2,) if kind == "frozen" else (2, 4):
        folder = tmp_path / str(count)
        assert in_processes(count, train_recorded, *run, folder, True) == [0] * count
        compare(folder, tmp_path / "1", count)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("method", ["pplr", "pplr_cameras"])
def test_processes_move_the_classifiers_as_one(steps_of, toy_store, tmp_path, method):
    """Fewer identities than there are clusters, so that shares are equal."""
    config = steps_of("groups", method=method, identities=4, iterations=3)
    run = config, toy_store.split("train"), None
    train_recorded(*run, tmp_path / "1", True)
    assert in_processes(2, train_recorded, *run, tmp_path / "2", True) == [0, 0]
    assert "refinement.parts" in read(tmp_path / "2/records0.pt")["epochs"][0]
    compare(tmp_path / "2", tmp_path / "1", 2)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", ["groups", "whole batch"])
def test_first_gradient_of_float32_is_that_of_one_process(steps_of, toy_store, tmp_path, kind):
    config = steps_of(kind, epochs=1)
    config = changed(config, {"training": {"iterations": 1}})
    run = config, toy_store.split("train"), None
    train_recorded(*run, tmp_path / "1")
    expected = read(tmp_path / "1/records0.pt")["gradient"]
    for count in (2, 4):
        assert in_processes(count, train_recorded, *run, tmp_path / str(count)) == [0] * count
        found = read(tmp_path / f"{count}/records0.pt")["gradient"]
        assert (found - expected).norm() < 1e-5 * expected.norm()


def compare(folder: Path, alone: Path, count: int) -> None:
    """Processes agree with each other to the last bit, and with one process to 1e-6."""
    expected = read(alone / "records0.pt")
    first, *others = (read(folder / f"records{rank}.pt") for rank in range(count))
    for other in others:
        assert torch.equal(first["gradient"], other["gradient"])
        for mine, its in zip(first["epochs"], other["epochs"], strict=True):
            assert all(torch.equal(mine[name], its[name]) for name in mine)
    apart = (first["gradient"] - expected["gradient"]).norm()
    assert apart < 1e-11 * expected["gradient"].norm()
    for mine, its in zip(first["epochs"], expected["epochs"], strict=True):
        assert torch.equal(mine["labels"], its["labels"])
        for name in its.keys() - {"labels"}:
            torch.testing.assert_close(mine[name], its[name], atol=1e-6, rtol=0)
    found, values = model_of(folder), model_of(alone)
    for name, value in values.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-6, msg=name)
    for row, its in zip(numbers_of(folder), numbers_of(alone), strict=True):
        assert row == pytest.approx(its, abs=1e-3)
        for name in (name for name in its if name.startswith("loss")):
            assert row[name] == pytest.approx(its[name], rel=1e-4), name


@pytest.mark.usefixtures("small")
def test_lost_process_ends_the_others_and_the_run_resumes(steps_of, toy_store, tmp_path):
    """A killed process ends the others by an error (3), SIGTERM to one stops all (75); the same
    call then resumes after the first epoch, also in one process; in as many as before it ends with
    the bytes of an undisturbed run."""
    # Fewer identities than there are clusters, so that shares are equal.
    config = steps_of("groups", method="global_only", identities=4, iterations=3)
    run = config, toy_store.split("train"), None
    update, steps = Objective.update, []

    def disturbed(number: int, folder: Path) -> None:
        """Process 2 gets the signal at step 4, in the second epoch."""

        def signalled(self: Objective, *arguments: Any) -> None:
            update(self, *arguments)
            steps.append(1)
            if len(steps) == 4 and distributed.rank() == 1:
                os.kill(os.getpid(), number)

        Objective.update = signalled  # type: ignore[method-assign]
        train_recorded(*run, folder)

    assert in_processes(2, train_recorded, *run, tmp_path / "whole") == [0, 0]
    expected = (tmp_path / "whole/model.pt").read_bytes()
    ends = (signal.SIGKILL, [3, -9], 2), (signal.SIGTERM, [75, 75], 1)
    for number, codes, count in ends:
        folder = tmp_path / number.name
        assert in_processes(2, disturbed, number, folder) == codes
        state = Checkpoints(folder / "state", KEY).load()
        assert state is not None and len(state["history"]) == 1
        assert in_processes(count, train_recorded, *run, folder) == [0] * count
        assert len(untimed(folder)) == 2
        assert count == 1 or (folder / "model.pt").read_bytes() == expected


def test_torchrun_trains_from_the_command_line(steps_of, toy_store, toy_weights, tmp_path):
    """One command starts and joins the processes. One of them is killed: the other says so, and
    the same command resumes; the first process writes, once."""
    config = steps_of("frozen", method="global_only", iterations=2)
    write_yaml(config, tmp_path / "run/config.yaml")
    torch.save(toy_weights, tmp_path / "weights.pt")
    words = ["launch", "--processes", "2", "--", "train", "run", "--store", str(toy_store.folder)]
    words += ["--weights", "weights.pt"]

    def called() -> subprocess.Popen[str]:
        environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SCWM_DEVICE": "cpu"}
        return subprocess.Popen(
            [sys.executable, "-m", "scwm", *words],
            cwd=tmp_path,
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    first = called()
    while not list((tmp_path / ".scwm/state").glob("*/checkpoint.pt")):
        assert first.poll() is None, first.communicate()
        time.sleep(0.01)
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
    (second,) = (p for p in children if b"\0RANK=1\0" in Path(f"/proc/{p}/environ").read_bytes())
    os.kill(int(second), signal.SIGKILL)
    assert "Another process of this training was lost" in first.communicate(timeout=300)[1]
    assert first.returncode == 1 and not (tmp_path / "run/model.pt").exists()
    again = called()
    told = again.communicate(timeout=300)[1]
    assert again.returncode == 0, told
    assert '"processes": 2' in (tmp_path / "run/train.json").read_text()
    assert len(untimed(tmp_path / "run")) == 2
    assert not list((tmp_path / ".scwm/state").glob("*/*"))

"""An interrupted training ends as the uninterrupted one."""

import os
import random
import signal
from typing import Any

import numpy as np
import pytest
import torch
from trained_runs import KEY, history_of, model_of, same, untimed

from scwm.core.errors import Interrupted
from scwm.evaluation.evaluate import evaluate
from scwm.method.objective import Objective
from scwm.training.checkpoint import Checkpoints
from scwm.training.epoch import Epoch
from scwm.training.trainer import Trainer


@pytest.fixture
def stop_in(monkeypatch):
    """``stop_in(epoch)``: every training is interrupted in that epoch; ``None`` lets it run."""
    start_epoch = Trainer.start_epoch

    def stop(last: int | None) -> None:
        def interrupted(self: Trainer, number: int) -> Epoch:
            if number + 1 == last:
                raise KeyboardInterrupt
            return start_epoch(self, number)

        monkeypatch.setattr(Trainer, "start_epoch", interrupted)

    return stop


@pytest.mark.parametrize("every", [0, 1], ids="parsing every {}".format)
def test_resumed_run_is_the_uninterrupted_one(
    finished, start, stop_in, tiny_config, toy_store, tmp_path, every
):
    """Also where the second epoch trains on the part labels of the start."""
    config = tiny_config("scwm", parsing={"every": every})
    whole = finished("scwm") if every == 0 else start(config, tmp_path / "whole")
    evaluate(whole, toy_store)
    stop_in(2)
    with pytest.raises(KeyboardInterrupt):
        start(config, tmp_path / "run")
    assert not (tmp_path / "run/model.pt").exists()
    assert [row["epoch"] for row in history_of(tmp_path / "run")] == ["1"]
    stop_in(1)  # the first epoch is not run again
    run = start(config, tmp_path / "run")
    evaluate(run, toy_store)
    assert untimed(run) == untimed(whole) and same(model_of(run), model_of(whole))
    assert (run / "metrics.json").read_bytes() == (whole / "metrics.json").read_bytes()


@pytest.mark.parametrize(
    ("method", "step"),
    [
        *(("scwm", 1), ("scwm", 2), ("scwm", 3)),  # only the third has a state to resume from
        *((name, 3) for name in ("global_only", "spcl", "pplr", "pplr_cameras", "ise")),
    ],
)
def test_training_stopped_between_two_steps_is_the_uninterrupted_one(
    finished, start, tiny_config, toy_store, tmp_path, monkeypatch, method, step
):
    """SIGTERM while a step runs: no step follows, and the same call resumes from the last epoch's
    end."""
    update, steps = Objective.update, []

    def signalled(self: Objective, *arguments: Any) -> None:
        update(self, *arguments)
        steps.append(1)
        if len(steps) == step:
            os.kill(os.getpid(), signal.SIGTERM)

    config, whole = tiny_config(method), finished(method)
    per_epoch = config.training.iterations
    done = step // per_epoch
    then = f"resumes after epoch {done}" if done else "starts from the beginning"
    monkeypatch.setattr(Objective, "update", signalled)
    with pytest.raises(Interrupted, match=rf"(?s)SIGTERM.*{then}"):
        start(config, tmp_path)
    assert len(steps) == step
    state = Checkpoints(tmp_path / "state", KEY).load()
    assert state is None if not done else len(state["history"]) == done
    run = start(config, tmp_path)
    evaluate(run, toy_store)
    assert len(steps) - step == per_epoch * (config.training.epochs - done)
    assert untimed(run) == untimed(whole)
    for name in ("model.pt", "metrics.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_signal_in_the_last_step_lets_the_training_end(finished, start, tiny_config, tmp_path):
    update, steps = Objective.update, []

    def signalled(self: Objective, *arguments: Any) -> None:
        update(self, *arguments)
        steps.append(1)
        if len(steps) == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "update", signalled)
        run = start(tiny_config("global_only"), tmp_path)
    assert (run / "model.pt").read_bytes() == (finished("global_only") / "model.pt").read_bytes()


def test_generators_of_the_process_are_not_used(finished, start, tiny_config, tmp_path):
    """All chance comes from generators of a purpose, so that no other state has to be saved."""
    torch.manual_seed(123), np.random.seed(123), random.seed(123)  # noqa: NPY002
    run = start(tiny_config("scwm"), tmp_path)
    assert (run / "model.pt").read_bytes() == (finished("scwm") / "model.pt").read_bytes()


def test_damaged_checkpoint_falls_back_to_the_one_before(
    start, stop_in, tiny_config, tmp_path, caplog
):
    config = tiny_config("global_only", training={"epochs": 3, "iterations": 1})
    whole = start(config, tmp_path / "whole")
    stop_in(3)
    with pytest.raises(KeyboardInterrupt):
        start(config, tmp_path / "run")
    newest = tmp_path / "run/state/checkpoint.pt"
    newest.write_bytes(newest.read_bytes()[:1000])
    stop_in(1)
    run = start(config, tmp_path / "run")
    assert "Damaged checkpoint" in caplog.text
    assert untimed(run) == untimed(whole) and same(model_of(run), model_of(whole))

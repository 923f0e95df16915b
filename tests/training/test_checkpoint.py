"""Checkpoints: what is on disk after each kind of failure, and which run they belong to."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from scwm.core.errors import ScwmError
from scwm.core.lock import Lock
from scwm.training import checkpoint
from scwm.training.checkpoint import Checkpoints, Interrupted, training_key

KEY = {"config seed": 0}


def test_checkpoints_keep_the_previous_one(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, KEY)
    assert checkpoints.load() is None
    for epoch in range(3):
        checkpoints.save({"history": [epoch]})
        assert checkpoints.load() == {"history": [epoch]}
    checkpoints.newest.unlink()  # killed between the two renames
    assert checkpoints.load() == {"history": [1]}
    checkpoints.previous.write_bytes(b"damaged")
    assert checkpoints.load() is None and "Damaged checkpoint" in caplog.text
    checkpoints.remove()
    assert not tmp_path.exists()


@pytest.mark.parametrize("damaged", [False, True])
def test_failed_save_loses_nothing(tmp_path, monkeypatch, caplog, damaged):
    """A full disk while saving, also after the newest checkpoint was found damaged."""
    checkpoints = Checkpoints(tmp_path, KEY)
    checkpoints.save({"history": [1]})
    checkpoints.save({"history": [2]})
    if damaged:
        checkpoints.newest.write_bytes(b"damaged")
        assert checkpoints.load() == {"history": [1]} and "Damaged checkpoint" in caplog.text

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(ScwmError, match=r"(?s)No space.*make room"):
        checkpoints.save({"history": [3]})
    assert checkpoints.load() == {"history": [1 if damaged else 2]}
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "Input/output error")])
def test_a_file_that_cannot_be_read_now_is_kept(tmp_path, monkeypatch, error):
    checkpoints = Checkpoints(tmp_path, KEY)
    checkpoints.save({"history": [1]})

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "load", fail)
        with pytest.raises(type(error)):
            checkpoints.load()
    assert checkpoints.load() == {"history": [1]}


def _save_and_die(folder: Path, moment: int) -> None:
    """Save a third checkpoint and die before or after one of the calls that touch the disk."""
    passed = iter(range(moment))

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(passed, None) is None:
                os._exit(9)
            result = function(*arguments, **options)
            if next(passed, None) is None:
                os._exit(9)
            return result

        return call

    checkpoints = Checkpoints(folder, KEY)
    checkpoint.torch.save = deadly(checkpoint.torch.save)
    for owner, name in ((os, "fsync"), (os, "close"), (Path, "replace"), (Path, "open")):
        setattr(owner, name, deadly(getattr(owner, name)))
    checkpoints.save({"history": [3]})
    os._exit(0)


def test_death_at_any_step_of_a_save_loses_at_most_that_save(tmp_path, recwarn):
    found = []
    for moment in range(100):
        folder = tmp_path / str(moment)
        checkpoints = Checkpoints(folder, KEY)
        checkpoints.save({"history": [1]})
        checkpoints.save({"history": [2]})
        process = get_context("fork").Process(target=_save_and_die, args=(folder, moment))
        process.start()
        process.join()
        found.append(checkpoints.load())
        assert not list(folder.glob("*.part"))
        checkpoints.save({"history": [4]})
        assert checkpoints.load() == {"history": [4]}
        if process.exitcode == 0:
            break
        assert process.exitcode == 9
    # Before the last rename the old one is found, from then on the new one.
    new = found.index({"history": [3]})
    assert found == [{"history": [2]}] * new + [{"history": [3]}] * (len(found) - new)
    assert 6 <= new < len(found) - 1 and not recwarn.list


def test_checkpoint_of_another_run_is_an_error_that_names_the_difference(tmp_path, tiny_config):
    mine = training_key(tiny_config(), "data", "weights")
    Checkpoints(tmp_path, mine).save({"history": [1]})
    assert Checkpoints(tmp_path, dict(mine)).load() == {"history": [1]}
    for key, message in (
        (training_key(tiny_config(training={"epochs": 33}), "data", "weights"), "training.epochs"),
        (training_key(tiny_config(seed=1), "data", "weights"), "seed: 0 there, 1 here"),
        (training_key(tiny_config(), "other", "weights"), "images: data there, other here"),
        (training_key(tiny_config(), "data", "other"), "weights: weights there, other here"),
        (mine | {"code training/trainer.py": "0"}, "code training/trainer.py"),
    ):
        with pytest.raises(ScwmError, match=message) as caught:
            Checkpoints(tmp_path, key).load()
        assert caught.value.where == tmp_path and "delete that folder" in str(caught.value)
    assert Checkpoints(tmp_path, mine).load() == {"history": [1]}


def test_reporting_code_is_no_part_of_the_key(tiny_config):
    names = set(training_key(tiny_config(), "data", "weights"))
    trained = ("training/trainer.py", "method/memory.py", "method/parsing/parts.py")
    assert {f"code {file}" for file in trained} <= names
    others = ("code reporting", "code cli", "code inference", "code evaluation/study")
    assert not [name for name in names if name.startswith(others)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signal_stops_a_training_and_the_error_says_what_is_saved(tmp_path, number):
    checkpoints = Checkpoints(tmp_path, KEY)
    before = signal.getsignal(number)
    with checkpoints.on_signals():
        checkpoints.stop_if_asked(0)
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted, match=rf"(?s){number.name}.*starts from the beginning"):
            checkpoints.stop_if_asked(0)
        with pytest.raises(Interrupted, match=rf"(?s){number.name}.*resumes after epoch 3"):
            checkpoints.stop_if_asked(3)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_stops_nobody(tmp_path, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("scwm.core.lock.fcntl.flock", fail)
    assert Lock(tmp_path / "a.lock").acquire() and "no lock here" in caplog.text


def test_lock_is_held_by_one_process_and_freed_by_its_death(tmp_path):
    path = tmp_path / "folder/lock"
    hold = "import sys,time;from pathlib import Path;from scwm.core.lock import Lock;"
    hold += "lock=Lock(Path(sys.argv[1]));print(lock.acquire(),flush=True);time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", hold, path], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "True\n"
    lock = Lock(path)
    assert not lock.acquire() and lock.holder() == str(other.pid)
    other.kill()
    assert lock.acquire(wait=True) and lock.holder() == str(os.getpid())
    assert not Lock(path).acquire()
    lock.release()
    assert Lock(path).acquire()
    other.wait()

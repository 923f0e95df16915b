"""A request to stop `scwm benchmark`: its step ends, and the same command resumes."""

import os
import subprocess
import sys
import time

import pytest

from scwm.cli import benchmark
from scwm.core.errors import Interrupted, ScwmError


def test_a_step_that_was_asked_to_stop_stops_the_benchmark(tmp_path, monkeypatch):
    step = tmp_path / "step"
    step.write_text("#!/bin/sh\nexit 75\n")
    step.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(step))
    with pytest.raises(Interrupted, match="call the same command again"):
        benchmark._scwm("train")
    step.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ScwmError, match="A step of the benchmark failed") as failed:
        benchmark._scwm("train")
    assert not isinstance(failed.value, Interrupted)


def test_a_request_to_stop_reaches_the_step(tmp_path):
    """The step ends, and the benchmark says that the same command resumes."""
    step, waiting = tmp_path / "step", tmp_path / "waiting"
    step.write_text(f"#!/bin/sh\necho $$ > {waiting}\nexec sleep 60\n")
    step.chmod(0o755)
    call = f"sys.executable = {str(step)!r}; from scwm.cli import benchmark; benchmark._scwm()"
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; {call}"], stderr=subprocess.PIPE, text=True
    )
    while not (waiting.exists() and waiting.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    _, told = process.communicate(timeout=30)
    assert "call the same command again" in told
    with pytest.raises(ProcessLookupError):
        os.kill(int(waiting.read_text()), 0)

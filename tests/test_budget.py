"""The memory budget: its sizes, what it keeps off a GPU, and the bound that the kernel holds."""

import subprocess
import sys

import pytest

from scwm.budget import VARIABLE, memory_budget
from scwm.errors import ScwmError
from scwm.inference import fits

TAKES_TWO_GIB = """
import torch
from scwm.cli import main
from scwm.commands import runs
runs.config = lambda options: torch.ones(2**29)
raise SystemExit(main(["--memory-budget", "{}", *"config --method m --dataset d --out o".split()]))
"""


@pytest.mark.parametrize(
    ("text", "size"), [("", None), ("500M", 500 * 2**20), ("1.5gb", 1.5 * 2**30), ("2T", 2**41)]
)
def test_sizes(monkeypatch, text, size):
    monkeypatch.setenv(VARIABLE, text)
    assert memory_budget() == size


@pytest.mark.parametrize("text", ["8", "0G", "G", "-1G", "8 GiB", "1e3M"])
def test_what_is_no_size_is_an_error(monkeypatch, text):
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ScwmError, match=r"(?s)not a size.*500M, 8G"):
        memory_budget()


def test_images_stay_off_a_gpu_whose_budget_they_would_fill(monkeypatch):
    assert fits(3 * 2**30, 80 * 2**30)
    monkeypatch.setenv(VARIABLE, "5G")
    assert not fits(3 * 2**30, 80 * 2**30) and fits(2 * 2**30, 80 * 2**30)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's bound is Linux's")
@pytest.mark.parametrize(("budget", "status"), [("2G", 1), ("8G", 0)])
def test_a_command_beyond_its_budget_is_stopped_and_told(budget, status):
    words = [sys.executable, "-c", TAKES_TWO_GIB.format(budget)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status, done.stderr
    if status:
        assert "Out of memory" in done.stderr and "Traceback" not in done.stderr

"""GPUs leased by locks: never two jobs on one, nobody waits for ever, nothing to clean up."""

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from scwm.cli import launch as module
from scwm.cli.launch import lease, private_folder, visible_gpus
from scwm.core.errors import ScwmError

ROOT = Path(__file__).resolve().parents[2]

# A job: takes GPUs, writes when it had them, and goes.
JOB = """
import logging, sys, time
from pathlib import Path
from scwm.cli import launch

launch.PAUSE = 0.005
logging.basicConfig(format="%(message)s", level=logging.INFO)
folder, wanted, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
held = launch.lease(wanted, sys.argv[4].split(","), folder)
start = time.monotonic()
print(*held, flush=True)
time.sleep(seconds)
print(start, time.monotonic())
"""


def job(folder: Path, wanted: int, seconds: float, pool: str = "0,1,2") -> subprocess.Popen[str]:
    words = [sys.executable, "-c", JOB, str(folder), str(wanted), str(seconds), pool]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, cwd=ROOT, text=True, **pipes)


def test_racing_jobs_never_share_a_gpu(tmp_path):
    """Eight jobs, some of two GPUs, on three; each gets through."""
    jobs = [job(tmp_path, 1 + number % 2, 0.05) for number in range(8)]
    spans: dict[str, list[tuple[float, float]]] = {name: [] for name in "012"}
    for number, process in enumerate(jobs):
        names, times = process.communicate(timeout=60)[0].splitlines()
        assert process.returncode == 0
        assert len(set(names.split())) == 1 + number % 2
        for name in names.split():
            spans[name].append(tuple(map(float, times.split())))
    assert sum(map(len, spans.values())) == 12
    for held in spans.values():
        held.sort()
        assert all(one[1] <= two[0] for one, two in pairwise(held))


def test_gpu_of_a_killed_job_is_free_again(tmp_path):
    holder = job(tmp_path, 1, 60, "7")
    assert holder.stdout is not None and holder.stdout.readline() == "7\n"
    waiting = job(tmp_path, 1, 0, "7")
    assert waiting.stderr is not None
    assert waiting.stderr.readline() == f"waiting for a GPU; taken: 7 (process {holder.pid})\n"
    assert waiting.poll() is None
    holder.send_signal(signal.SIGKILL)
    assert waiting.communicate(timeout=30)[0].startswith("7\n") and waiting.returncode == 0
    holder.communicate()


def test_jobs_that_want_several_do_not_block_each_other(tmp_path):
    """Each takes one and waits for the other's: so it would be without turns."""
    jobs = [job(tmp_path, 2, 0.01, "0,1") for _ in range(4)]
    assert [process.wait(timeout=60) for process in jobs] == [0] * 4
    for process in jobs:
        process.communicate()


def test_command_in_place_of_the_process_keeps_its_gpu(tmp_path):
    """`launch` becomes the command that it starts."""
    code = (
        "import os, sys; from pathlib import Path; from scwm.cli.launch import lease;"
        "held = lease(1, ['0'], Path(sys.argv[1]));"
        "os.execvp('sh', ['sh', '-c', 'echo started; sleep 60'])"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(
        words, cwd=ROOT, text=True, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "started\n"
        waiting = job(tmp_path, 1, 0, "0")
        assert waiting.stderr is not None
        assert waiting.stderr.readline().startswith("waiting for a GPU; taken: 0 ")
        os.killpg(process.pid, signal.SIGKILL)
        assert waiting.wait(timeout=30) == 0
        waiting.communicate()


def test_pool_is_what_cuda_may_see(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5,2,MIG-1/0")
    assert visible_gpus() == ["2", "5", "MIG-1/0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_too_few_gpus_is_an_error(tmp_path):
    with pytest.raises(ScwmError, match=r"2 GPU\(s\) are requested, and there are 1"):
        lease(2, ["0"], tmp_path)


def test_folder_of_the_locks_is_nobody_elses(tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = private_folder()
    assert folder.stat().st_mode & 0o777 == 0o700 and private_folder() == folder
    folder.chmod(0o777)
    with pytest.raises(ScwmError, match="is not private"):
        private_folder()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ScwmError, match="is not private"):
        private_folder()


def test_launch_becomes_the_command(tmp_path, monkeypatch):
    """With the leased GPUs visible; in a SLURM job with those that SLURM gives."""
    became: list[tuple[list[str], str | None]] = []

    def record(_: str, words: list[str]) -> None:
        became.append((words[1:], os.environ.get("CUDA_VISIBLE_DEVICES")))

    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(module.os, "execv", record)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert module.launch(0, 1, ["study", "RUN"]) == ["study", "RUN"]
    module.launch(1, 1, ["evaluate", "RUN"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    module.launch(2, 2, ["train", "RUN"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    module.launch(1, 1, ["train", "RUN"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")  # a workflow inside one allocation
    module.launch(1, 1, ["study", "RUN"])
    assert (tmp_path / f"scwm-gpus-{os.getuid()}-12").is_dir()
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "scwm"]
    assert became == [
        (["-m", "scwm", "evaluate", "RUN"], "4"),
        ([*torchrun, "train", "RUN"], "4,5"),
        (["-m", "scwm", "train", "RUN"], "0"),
        (["-m", "scwm", "study", "RUN"], "0"),
    ]


@pytest.mark.parametrize("counts", [(0, 0), (-1, 1), (0, 2)])
def test_only_a_training_is_shared(counts: tuple[int, int]) -> None:
    with pytest.raises(ScwmError, match=r"(?s)Cannot launch 'evaluate RUN'.*--processes"):
        module.launch(*counts, ["evaluate", "RUN"])

"""GPUs that one job of this machine has to itself, by locks that end with the job's process."""

import logging
import os
import stat
import sys
import tempfile
import time
from pathlib import Path

from scwm.cli.options import verbosity
from scwm.core.errors import ScwmError
from scwm.core.lock import Lock

logger = logging.getLogger(__name__)

PAUSE = 0.5  # seconds between two looks for a free GPU


def lease(wanted: int, pool: list[str], folder: Path | None = None) -> dict[str, Lock]:
    """Take GPUs that no other job has; waits, with a message, until there are enough.

    Jobs come to their turn one after the other, and the one whose turn it is keeps what it has
    until it has all: none waits for a GPU of a job that waits itself.

    Args:
        wanted: how many.
        pool: their names, which all jobs must give alike.
        folder: of the locks; default: one of this user's, so that other users' jobs are not seen.

    Returns:
        The names and their locks. A lock is held, also by a command that `os.exec…` puts in this
        process's place, until it is released or the process ends, in whatever way.

    Raises:
        ScwmError: the pool is too small, or the folder is not this user's alone.
    """
    if wanted > len(pool):
        raise ScwmError(
            f"{wanted} GPU(s) are asked for, and there are {len(pool)} ({', '.join(pool)}).",
            "CUDA_VISIBLE_DEVICES, `processes` in the benchmark's config",
            "ask for fewer",
        )
    folder = folder or private_folder()
    turn = Lock(folder / "turn.lock")
    if not turn.acquire():
        logger.info("waiting for a GPU, behind another job that waits")
        turn.acquire(wait=True)
    locks = {name: Lock(folder / f"{name.replace('/', '-')}.lock") for name in pool}
    leased: dict[str, Lock] = {}
    told = False
    while len(leased) < wanted:
        for name in [name for name in locks if name not in leased]:
            if len(leased) < wanted and locks[name].acquire():
                leased[name] = locks[name]
                os.set_inheritable(leased[name].file.fileno(), True)
        if len(leased) < wanted:
            if not told:
                others = [
                    f"{n} (process {x.holder()})" for n, x in locks.items() if n not in leased
                ]
                logger.info("waiting for a GPU; taken: %s", ", ".join(others))
                told = True
            time.sleep(PAUSE)
    for lock in (turn, *(lock for name, lock in locks.items() if name not in leased)):
        lock.release()
    return leased


def visible_gpus() -> list[str]:
    """Names of the GPUs that CUDA_VISIBLE_DEVICES gives this process; all where it is not set."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def private_folder() -> Path:
    """A folder for locks that no other user can write to or lead elsewhere.

    Raises:
        ScwmError: what stands there is another user's, or open to others.
    """
    folder = Path(tempfile.gettempdir(), f"scwm-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ScwmError(
            "The folder of the GPUs' locks is not this user's alone.",
            folder,
            "remove it, or set TMPDIR to a folder of your own",
        )
    return folder


def launch(gpus: int, processes: int, arguments: list[str]) -> list[str]:
    """Become `scwm` with these arguments, in so many processes and on GPUs leased for it.

    SLURM gives each job GPUs of its own: there nothing is leased.

    Returns:
        The arguments, where one process without a GPU is wanted: that is this process.

    Raises:
        ScwmError: there are too few GPUs, or the command is no training and cannot be shared.
    """
    if gpus < 0 or processes < 1 or (processes > 1 and arguments[:1] != ["train"]):
        raise ScwmError(
            f"Cannot launch '{' '.join(arguments)}' in {processes} process(es) on {gpus} GPU(s).",
            "--processes, --gpus",
            "give counts; only `train` takes several processes",
        )
    if not gpus and processes == 1:
        return arguments
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
    if gpus and "SLURM_JOB_ID" not in os.environ:
        held = lease(gpus, visible_gpus())
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(held)
    command += ["scwm", *verbosity(), *arguments]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    logger.debug("GPUs: %s; command: python %s", visible, " ".join(command[1:]))
    sys.stderr.flush()
    os.execv(sys.executable, command)

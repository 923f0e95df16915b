"""Exclusive GPUs for the jobs of this machine, by locks that end with the job's process."""

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

PAUSE = 0.5  # seconds between two checks for a free GPU


def lease(wanted: int, pool: list[str], folder: Path | None = None) -> dict[str, Lock]:
    """Take GPUs that no other job uses; wait, with a message, until enough are free.

    Jobs take turns. The job whose turn it is keeps its GPUs until it has all of them, so no job
    waits for a GPU of another waiting job.

    Args:
        wanted: number of GPUs.
        pool: names of the GPUs, equal in all jobs.
        folder: folder of the locks; default: a private folder of this user, which does not see the
            jobs of other users.

    Returns:
        The names and their locks. A lock is held, also by a command that replaces this process by
        `os.exec…`, until it is released or the process ends in any way.
    """
    if wanted > len(pool):
        raise ScwmError(
            f"{wanted} GPU(s) are requested, and there are {len(pool)} ({', '.join(pool)}).",
            "CUDA_VISIBLE_DEVICES, `processes` in the benchmark's config",
            "request fewer",
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
    """List the GPUs of CUDA_VISIBLE_DEVICES, each once, or all GPUs if the variable is not set.

    For CUDA an empty value means no GPU, not all GPUs.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [*dict.fromkeys(name.strip() for name in given.split(",") if name.strip())]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def private_folder() -> Path:
    """Return a folder for locks that no other user can write to or redirect."""
    name = f"scwm-gpus-{os.getuid()}"
    if job := os.environ.get("SLURM_JOB_ID"):  # each job numbers its GPUs from 0
        name += f"-{job}"
    folder = Path(tempfile.gettempdir(), name)
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ScwmError(
            "The folder of the GPUs' locks is not private.",
            folder,
            "remove it, or set TMPDIR to a folder of your own",
        )
    return folder


def launch(gpus: int, processes: int, arguments: list[str]) -> list[str]:
    """Replace this process by `scwm` with these arguments, on leased GPUs.

    A SLURM job that sees only the GPUs it needs leases none: SLURM gave it its own.

    Args:
        gpus: number of GPUs to lease.
        processes: number of processes.
        arguments: the command and its options.

    Returns:
        The arguments if the command needs one process and no GPU: this process then runs it.
    """
    unsuited = arguments[:1] in ([], ["launch"]) or (processes > 1 and arguments[0] != "train")
    if gpus < 0 or processes < 1 or unsuited:
        raise ScwmError(
            f"Cannot launch '{' '.join(arguments)}' in {processes} process(es) on {gpus} GPU(s).",
            "--processes, --gpus",
            "give counts and a command other than `launch`; only `train` takes several processes",
        )
    if gpus not in (0, processes):
        raise ScwmError(
            f"{processes} process(es) cannot share {gpus} GPU(s): each needs its own.",
            "--processes, --gpus",
            f"let Snakemake have more (`--resources gpu={processes}`), or set `processes: {gpus}`",
        )
    if not gpus and processes == 1:
        return arguments
    command = [sys.executable, "-m"]
    if processes > 1:
        # torchrun passes these on to its processes; of the last it knows nothing by default.
        os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
        command += ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
    if gpus and (not os.environ.get("SLURM_JOB_ID") or len(visible_gpus()) > gpus):
        held = lease(gpus, visible_gpus())
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(held)
    command += ["scwm", *verbosity(), *arguments]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    logger.debug("GPUs: %s; command: python %s", visible, " ".join(command[1:]))
    sys.stderr.flush()
    os.execv(sys.executable, command)

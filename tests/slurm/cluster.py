"""A SLURM cluster of this machine alone, in a temporary folder, gone with its block."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
CORES, MEMORY = 16, 64000  # what jobs may ask for; the machine may have less

CONFIG = """
ClusterName=scwm
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={controller}
SlurmdPort={node}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=43200
SchedulerParameters=sched_interval=1,sched_min_interval=100000
KillWait=30
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def one_node_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start munged, slurmctld and slurmd in `folder`; yields the environment for their clients.

    Raises:
        SystemExit: a tool is missing, or the node is not ready within 30 seconds.
    """
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    if missing := [tool for tool in TOOLS if shutil.which(tool, path=path) is None]:
        raise SystemExit(f"Missing: {', '.join(missing)}. Install `slurm-wlm` and `munge`.")
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    folder.chmod(0o755)  # munged refuses a folder that others can write to
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    text = CONFIG.format(
        folder=folder,
        host=socket.gethostname().split(".")[0],
        user=subprocess.check_output(["id", "-un"], text=True).strip(),
        controller=_free_port(),
        node=_free_port(),
        cores=CORES,
        memory=MEMORY,
    )
    (folder / "slurm.conf").write_text(text)
    # Snakemake hides SLURM's variables from `srun`; a real cluster's slurm.conf is found without.
    srun = folder / "bin/srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    path = f"{folder}/bin:{path}"
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    munge = [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("key-file", "socket")]
    munge += [f"--{name}={folder}/munged.{name[:4]}" for name in ("pid-file", "log-file")]
    munge += [f"--seed-file={folder}/munged.seed", "--foreground", "--force"]
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        with open(folder / "daemons.log", "wb") as log:
            for words in (["munged", *munge], ["slurmctld", "-D"], ["slurmd", "-D"]):
                daemons.append(
                    subprocess.Popen(words, env=environment, stdout=log, stderr=log, cwd=folder)
                )
                time.sleep(1)
        _wait_for_node(environment, folder)
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for_node(environment: dict[str, str], folder: Path) -> None:
    for _ in range(60):
        words = ["sinfo", "--noheader", "--format=%T"]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = [path.read_text()[-2000:] for path in sorted(folder.glob("*.log"))]
    raise SystemExit("\n".join([*logs, f"The node is not ready: {done.stdout}{done.stderr}"]))

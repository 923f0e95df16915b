"""Kill runs with SIGKILL at random moments and compare what the next call ends with.

    python tools/kill_test.py [--kills 20] [--workflow-kills 5] [--seed 0] [--folder DIR]

First the `ci` benchmark (without workflow kills only its `scwm`) runs undisturbed in a folder of
its own. Then, over and over from empty results, its training of `scwm` is killed once at a random
moment and the workflow called again; model.pt and metrics.json must come out with the same bytes.
At last Snakemake itself is killed time after time during a whole run, its jobs left behind as they
are, and the tables must come out the same, with no command in between. Exit status 1 if anything
differs.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
RUN = Path("results/ci/runs/mannequins_tiny/scwm/seed0")
TARGET = str(RUN / "metrics.json")
WORK = ("results", ".scwm", ".snakemake")
LOG = "kill_test.log"
COMPARED = {
    "training": (RUN / "model.pt", RUN / "metrics.json"),
    "workflow": tuple(
        Path("results/ci/tables", name) for name in ("main.csv", "ablation.csv", "claims.csv")
    ),
}


class Workflow:
    """The `ci` benchmark in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        found = [name for name in WORK if (folder / name).exists()]
        if found and not (folder / LOG).exists():  # else it is of an earlier call
            raise SystemExit(f"{folder} holds {', '.join(found)}: give a new or empty --folder.")
        self.folder = folder

    def start(self, *targets: str) -> psutil.Popen:
        """Call Snakemake for `targets`, or for all."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "workflow/Snakefile"]
        command += ["--workflow-profile", ROOT / "workflow/profiles/default", "--cores", "1"]
        command += ["--directory", self.folder, "--configfile", ROOT / "config/ci.yaml"]
        with open(self.folder / LOG, "a", encoding="utf-8") as log:
            words = [*map(str, command), "--", *targets]
            return psutil.Popen(words, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)

    def finish(self, *targets: str) -> None:
        """Run to the end; an error shows the log's end and stops the test."""
        if self.start(*targets).wait():
            log = (self.folder / LOG).read_text(encoding="utf-8")
            raise SystemExit(f"{log[-3000:]}\nThe workflow failed in {self.folder}.")

    def clear(self) -> None:
        """Remove all results, keep the data."""
        for name in WORK:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def read(self, what: str) -> list[bytes]:
        """The bytes of the files compared."""
        return [(self.folder / path).read_bytes() for path in COMPARED[what]]


def training_of(workflow: psutil.Popen) -> psutil.Process | None:
    """The process that trains, waited for; None when the workflow ended without one."""
    while workflow.poll() is None:
        for process in workflow.children(recursive=True):
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            if {"scwm", "train"} <= set(words):  # the shell has one long word
                return process
        time.sleep(0.02)
    return None


def kill_training(workflow: Workflow, delay: float) -> bool:
    """Kill the training `delay` seconds after its start; False when it was over before."""
    called = workflow.start(TARGET)
    training = training_of(called)
    time.sleep(delay)
    hit = training is not None and training.is_running()
    if hit and training is not None:
        training.kill()
    called.wait()
    workflow.finish(TARGET)
    return hit


def kill_workflow(workflow: Workflow, delay: float) -> bool:
    """Kill Snakemake alone `delay` seconds after its start; False when it was over before."""
    called = workflow.start()
    time.sleep(delay)
    hit = called.poll() is None
    if hit:
        called.kill()
    called.wait()
    return hit


def main() -> int:
    """Run the test; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="kills of the training")
    parser.add_argument("--workflow-kills", type=int, default=5, help="kills of Snakemake")
    parser.add_argument("--seed", type=int, default=0, help="seed of the times of the kills")
    parser.add_argument("--folder", type=Path, help="working folder; default: a temporary one")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="scwm-kill-"))
    workflow, chance = Workflow(folder), random.Random(options.seed)

    start = time.perf_counter()
    workflow.finish(*(() if options.workflow_kills else (TARGET,)))
    whole = time.perf_counter() - start
    compared = COMPARED if options.workflow_kills else ("training",)
    expected = {what: workflow.read(what) for what in compared}
    workflow.clear()
    called = workflow.start(TARGET)
    training = training_of(called)
    start = time.perf_counter()
    while training is not None and training.is_running():
        time.sleep(0.02)
    length = time.perf_counter() - start
    called.wait()

    same = hits = 0
    for number in range(options.kills):
        workflow.clear()
        delay = chance.uniform(0, length)
        hit = kill_training(workflow, delay)
        equal = workflow.read("training") == expected["training"]
        same, hits = same + equal, hits + hit
        moment = f"killed at {delay:.1f} s of {length:.1f}" if hit else "over before the kill"
        print(
            f"training {number + 1}: {moment}, {'same bytes' if equal else 'DIFFERENT'}", flush=True
        )
    tables = True
    for number in range(options.workflow_kills):
        if not number:
            workflow.clear()
        delay = chance.uniform(3, max(3, whole / 4))
        hit = kill_workflow(workflow, delay)
        print(
            f"workflow {number + 1}: {'killed' if hit else 'over'} after {delay:.1f} s", flush=True
        )
    print(f"training: {hits} of {options.kills} killed, {same} with the same bytes")
    if options.workflow_kills:
        workflow.finish()
        tables = workflow.read("workflow") == expected["workflow"]
        print(f"workflow: {'the same' if tables else 'DIFFERENT'} tables")
    if options.folder is None:
        shutil.rmtree(folder)
    if options.kills and not hits:
        print("No training was killed, so nothing is shown.")
        return 1
    return 0 if same == options.kills and tables else 1


if __name__ == "__main__":
    sys.exit(main())

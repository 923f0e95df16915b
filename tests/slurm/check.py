"""The workflow through SLURM, on a cluster of this machine alone; run by `make slurm-check`.

    python tests/slurm/check.py [--keep FOLDER]

The `ci` benchmark, of two methods and one seed, runs locally and through `workflow/profiles/slurm`:
tables, and every run's model and metrics must have the same bytes. Then the training of `scwm` is
stopped twice in the middle, by `scontrol requeue`, as a preemption does it, and by `scancel`: it
must end with the same bytes.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from cluster import one_node_cluster

ROOT = Path(__file__).resolve().parents[2]
RUNS = Path("results/ci/runs/mannequins_tiny")
TRAINING = "rule_train_wildcards_mannequins_tiny_scwm_0"
ENDS = ("model.pt", "metrics.json")
COMPARED = ("results/ci/tables/*.csv", *(f"{RUNS}/*/seed0/{end}" for end in ENDS))
# This cluster keeps no accounts for `sacct` to read, and its jobs are short.
SLURM = ["--slurm-status-command", "squeue"]
SLURM += ["--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "5"]
SLURM += ["--jobs", "2", "--latency-wait", "20"]


class Benchmark:
    """A benchmark in `folder`, run locally or through SLURM."""

    def __init__(self, folder: Path, config: Path, environment: dict[str, str] | None) -> None:
        self.folder, self.config, self.environment = folder, config, environment
        folder.mkdir(exist_ok=True)

    def start(self, *targets: str) -> subprocess.Popen[bytes]:
        """Call Snakemake for `targets`, or for all."""
        profile = "slurm" if self.environment else "default"
        words = [sys.executable, "-m", "snakemake", "--snakefile", f"{ROOT}/workflow/Snakefile"]
        words += ["--workflow-profile", f"{ROOT}/workflow/profiles/{profile}"]
        words += ["--directory", str(self.folder), "--configfile", str(self.config)]
        words += SLURM if self.environment else ["--cores", "2"]
        with open(self.folder / "workflow.log", "ab") as log:
            return subprocess.Popen(
                [*words, "--", *targets], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )

    def finish(self, *targets: str) -> None:
        """Run to the end; an error shows the log's."""
        started = time.monotonic()
        if self.start(*targets).wait(1800):
            log = (self.folder / "workflow.log").read_text()
            raise SystemExit(f"{log[-4000:]}\nThe workflow failed in {self.folder}.")
        print(f"{self.folder.name}: {time.monotonic() - started:.0f} s", flush=True)

    def read(self, *patterns: str) -> dict[str, bytes]:
        """Path -> content of what the patterns find; costs hold times, which are never the same."""
        found = (path for pattern in patterns for path in self.folder.glob(pattern))
        paths = sorted(path for path in found if path.name != "cost.csv")
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}


def differing(one: dict[str, bytes], two: dict[str, bytes]) -> list[str]:
    """Names whose content is not in both."""
    if not one:
        raise SystemExit("Nothing to compare.")
    return sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))


def stop_in_the_middle(benchmark: Benchmark, environment: dict[str, str], *command: str) -> None:
    """Train `scwm` alone through SLURM; once its first epoch is saved, stop it by `command`."""
    shutil.rmtree(benchmark.folder / RUNS / "scwm")
    called = benchmark.start(*(str(RUNS / "scwm/seed0" / name) for name in ENDS))
    state = benchmark.folder / ".scwm/state"
    while not list(state.glob("*-scwm-seed0-*/checkpoint.pt")):
        if called.poll() is not None:
            raise SystemExit("The training was over before it could be stopped.")
        time.sleep(0.02)
    words = ["squeue", "--noheader", "--states=RUNNING", "--format=%i %k"]
    jobs = subprocess.check_output(words, env=environment, text=True).splitlines()
    (number,) = (job.split()[0] for job in jobs if job.split()[1] == TRAINING)
    subprocess.run([*command, number], env=environment, check=True)
    print(f"{' '.join(command)} {number}", flush=True)
    if called.wait(900):
        log = (benchmark.folder / "workflow.log").read_text()
        raise SystemExit(f"{log[-4000:]}\nThe stopped training did not come to its end.")
    told = (benchmark.folder / "results/ci/logs/train/mannequins_tiny-scwm-0.log").read_text()
    print(f"its log: {told.strip()[-200:] or 'empty'}", flush=True)


def check(folder: Path) -> list[str]:
    """Everything; the names of what differs."""
    config = yaml.safe_load((ROOT / "config/ci.yaml").read_text())
    config |= {"methods": ["scwm", "pretrained"], "seeds": [0], "sweep": {}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    local = Benchmark(folder / "local", folder / "config.yaml", None)
    local.finish()
    expected = local.read(*COMPARED)
    (folder / "cluster").mkdir()
    with one_node_cluster(folder / "cluster") as environment:
        remote = Benchmark(folder / "slurm", folder / "config.yaml", environment)
        remote.finish()
        wrong = differing(expected, remote.read(*COMPARED))
        stopped = [f"{RUNS}/scwm/seed0/{end}" for end in ENDS]
        for command in (("scontrol", "requeue"), ("scancel",)):
            stop_in_the_middle(remote, environment, *command)
            wrong += differing({name: expected[name] for name in stopped}, remote.read(*stopped))
    print(f"compared: {len(expected)} files, and {len(stopped)} after each stop", flush=True)
    return wrong


def main() -> None:
    """Exit status 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="work here and leave it, to look at")
    kept = parser.parse_args().keep
    folder = kept or Path(tempfile.mkdtemp(prefix="scwm-slurm-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        wrong = check(folder.resolve())
    finally:
        if kept is None:
            shutil.rmtree(folder, ignore_errors=True)
    raise SystemExit(f"Differ: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()

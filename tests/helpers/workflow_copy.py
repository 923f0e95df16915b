"""Snakemake called on the project, or on a copy of it whose commands only pretend to work."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Stands in for the command line in a copy of the project: records its arguments, and writes
# what each command promises, empty.
STUB = """
import json, sys
from pathlib import Path

FILES = {
    "data get": ["manifest.csv"],
    "data store": ["images.npy", "index.csv", "store.json"],
    "train": ["model.pt", "history.csv", "train.json"],
    "evaluate": ["metrics.json", "visuals.npz", "features.npz", "queries.npz", "provenance.json"],
    "study": ["study.json"],
}


def main():
    arguments = sys.argv[1:]
    if arguments[0] == "launch":
        arguments = arguments[arguments.index("--") + 1 :]
    print(json.dumps(arguments))
    command = " ".join(arguments[:2]) if arguments[0] == "data" else arguments[0]
    out = Path(arguments[arguments.index("--out") + 1] if "--out" in arguments else arguments[1])
    if command in ("table", "plot"):
        endings = ["csv", "md", "html", "tex"] if command == "table" else ["png", "svg"]
        files = [out.with_suffix("." + ending) for ending in endings]
    else:
        files = [out / name for name in FILES[command]] if command in FILES else [out]
    if command == "page":
        files.append(out.with_name("summary.md"))
    if arguments[2:4] == ["--transfer", "--store"]:
        files = [out / f"transfer/{Path(arguments[4]).parent.name}.json"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    return 0
"""


def plain_environment() -> dict[str, str]:
    """The environment without a data set or a device, but with the cache of the tests."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SCWM_")}
    return kept | {"SCWM_CACHE": os.environ["SCWM_CACHE"]}


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow of the project at `folder`, with no data set in the environment."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        env=plain_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def job_counts(output: str) -> dict[str, int]:
    """Rule -> number of jobs, from the first statistics that Snakemake prints."""
    if "Job stats:" not in output:
        return {}
    block = output.split("Job stats:", 1)[1].split("\n\n", 1)[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", block, re.M)}


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs that a run would do now."""
    done = snakemake(folder, *arguments, "--dry-run", "--quiet", "rules")
    assert done.returncode == 0, done.stderr
    return job_counts(done.stdout + done.stderr)


def stubbed_copy(folder: Path) -> Path:
    """A copy of the project, in `folder`, with the stand-in command line."""
    for name in ("config", "scwm", "workflow"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".snakemake")
        )
    (folder / "scwm/cli/main.py").write_text(STUB)
    return folder

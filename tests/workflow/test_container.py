"""Containers: what Snakemake asks of apptainer, by a stand-in."""

import json
import os
import subprocess
import sys

from workflow_copy import STUB, stubbed_copy

# Records how it is called, and runs the command that follows the image with its own `python`.
APPTAINER = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path

arguments, home = sys.argv[1:], Path(__file__).resolve().parents[1]
if arguments == ["--version"]:
    print("apptainer version 1.3.6")
    sys.exit()
with open(home / "calls", "a") as calls:
    print(json.dumps(arguments), file=calls)
command = arguments[arguments.index("scwm.sif") + 1:]
os.environ["PATH"] = f"{{home}}/inside:/usr/bin:/bin"
os.execvp(command[0], command)
"""
PYTHON = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
TOLD = "import shutil, scwm\nprint('ran with', shutil.which('python'), scwm.__file__)\n"


def test_rules_run_in_the_container_of_the_config(tmp_path):
    """With its `python` and this checkout's `scwm`."""
    stubbed = stubbed_copy(tmp_path)
    home = stubbed / "apptainer"
    for path, text in (("bin/apptainer", APPTAINER), ("inside/python", PYTHON)):
        (home / path).parent.mkdir(parents=True)
        (home / path).write_text(text)
        (home / path).chmod(0o755)
    (stubbed / "scwm.sif").touch()
    (stubbed / "scwm/cli/main.py").write_text(TOLD + STUB)
    target = "results/ci/runs/mannequins_tiny/scwm/seed0/config.yaml"
    words = ["--cores", "1", "--sdm", "apptainer", "--configfile", "config/ci.yaml"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words, "--config", "container=scwm.sif", "--", target],
        cwd=stubbed,
        env=environment | {"PATH": f"{home}/bin{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (call,) = [json.loads(line) for line in (home / "calls").read_text().splitlines()]
    assert "exec" in call and "scwm.sif" in call
    log = (stubbed / "results/ci/logs/resolve_config/mannequins_tiny-scwm-0.log").read_text()
    assert log.splitlines()[0] == f"ran with {home}/inside/python {stubbed}/scwm/__init__.py"

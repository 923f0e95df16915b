"""conda: environments that its tools take, and what Snakemake asks of it, by a stand-in."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from workflow_copy import ROOT, STUB, stubbed_copy

ENVIRONMENTS = {"workflow/envs/scwm.yaml": "gpu", "workflow/envs/scwm-cpu.yaml": "cpu"}
CONDA_NAMES = {
    "pytorch-gpu": "torch",
    "pytorch-cpu": "torch",
    "matplotlib-base": "matplotlib",
    "snakemake-minimal": "snakemake",
}
NOT_FROM_PYPI = {"python", "pip", "conda"}

# Records how it is called; an environment that it creates has a `python` and no packages.
CONDA = f"""#!{sys.executable}
import json, os, stat, sys
from pathlib import Path

arguments, home = sys.argv[1:], Path(__file__).resolve().parents[1]
with open(home / "calls", "a") as calls:
    print(json.dumps(arguments), file=calls)
if arguments == ["--version"]:
    print("conda 24.7.1")
elif arguments[0] == "info":
    print(json.dumps({{"conda_prefix": str(home), "platform": "linux-64"}}))
elif arguments[0] == "config":
    print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
elif arguments[0] == "clean":
    pass
elif arguments[:2] == ["env", "create"]:
    prefix = Path(arguments[arguments.index("--prefix") + 1])
    (prefix / "bin").mkdir(parents=True)
    python = prefix / "bin/python"
    python.write_text('#!/bin/sh\\nexec {sys.executable} "$@"\\n')
    python.chmod(0o755)
else:
    sys.exit(f"unexpected: {{arguments}}")
"""
ACTIVATE = 'export CONDA_PREFIX="$1"; export PATH="$1/bin:$PATH"\n'
TOLD = """
import os, shutil
import scwm
print("ran in", os.environ.get("CONDA_PREFIX"), shutil.which("python"), scwm.__file__)
"""


def pinned() -> dict[str, str]:
    """Package -> version in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().split()
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


def packages(path: str) -> dict[str, str]:
    """Package -> versions, of conda and of pip, without the project itself."""
    entries = yaml.safe_load((ROOT / path).read_text())["dependencies"]
    from_pip = [line for entry in entries if isinstance(entry, dict) for line in entry["pip"]]
    lines = [entry for entry in entries if isinstance(entry, str)] + from_pip
    pairs = (line.partition(" ") for line in lines if line != "-e .")
    return {name: wanted for name, _, wanted in pairs}


@pytest.mark.parametrize("path", [*ENVIRONMENTS, "environment.yml"])
def test_environment_is_one_that_conda_takes(path):
    content = yaml.safe_load((ROOT / path).read_text())
    assert content.keys() <= {"name", "channels", "dependencies"}
    assert content["channels"][0] == "conda-forge" and "defaults" not in content["channels"]
    names = set()
    for entry in content["dependencies"]:
        if isinstance(entry, str):
            name, _, wanted = entry.partition(" ")
            assert name == name.lower() and name not in names, entry
            SpecifierSet(wanted)
            names.add(name)
        else:
            assert entry.keys() == {"pip"}
    assert "python" in names


def test_environments_differ_in_the_builds_alone():
    """Where there is no GPU the same packages run."""
    names = {kind: list(packages(path)) for path, kind in ENVIRONMENTS.items()}
    assert [name.replace("-gpu", "-cpu") for name in names["gpu"]] == names["cpu"]
    assert names["gpu"] != names["cpu"]


def test_environments_hold_what_the_package_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    needed |= {"infomap", "timm"}  # a clustering, a backbone
    for path in ENVIRONMENTS:
        names = packages(path).keys() - NOT_FROM_PYPI
        there = {canonicalize_name(CONDA_NAMES.get(name, name)) for name in names}
        assert needed <= there, path


def test_every_package_that_is_imported_is_required() -> None:
    """Directly, not only because another package needs it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    required = {canonicalize_name(Requirement(line).name) for line in lines}
    packages = packages_distributions()
    for path in (ROOT / "scwm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                found = [str(node.module)]
            for module in {name.partition(".")[0] for name in found}:
                if module not in {"scwm", "pydantic_core", *sys.stdlib_module_names}:
                    names = {canonicalize_name(name) for name in packages.get(module, [module])}
                    assert names & required, f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("path", [*ENVIRONMENTS, "environment.yml"])
def test_conda_environments_agree_with_the_pins(path: str) -> None:
    versions = pinned()
    for name, wanted in packages(path).items():
        if name not in NOT_FROM_PYPI:
            version = versions[canonicalize_name(CONDA_NAMES.get(name, name))]
            told = f"{name} {wanted}, but pinned is {version}"
            assert SpecifierSet(wanted).contains(version), told


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    named = (line for extra in extras for line in extras[extra])
    versions = pinned()
    for requirement in map(Requirement, [*project["dependencies"], *named]):
        if requirement.name != project["name"]:
            version = versions[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{requirement}, pinned is {version}"


def test_snakemake_creates_the_environment_and_runs_the_job_in_it(tmp_path):
    """The job sees this checkout's `scwm` though its environment has none."""
    stubbed = stubbed_copy(tmp_path)
    home = stubbed / "conda"
    for name, text in (("conda", CONDA), ("activate", ACTIVATE)):
        (home / "bin").mkdir(parents=True, exist_ok=True)
        (home / "bin" / name).write_text(text)
        (home / "bin" / name).chmod(0o755)
    (stubbed / "scwm/cli/main.py").write_text(TOLD + STUB)
    target = "results/ci/runs/mannequins_tiny/scwm/seed0/config.yaml"
    words = ["--cores", "1", "--use-conda", "--configfile", "config/ci.yaml"]
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "CONDA_PREFIX")}
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words, "--config", "gpu=True", "--", target],
        cwd=stubbed,
        env=environment | {"PATH": f"{home}/bin{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    calls = [json.loads(line) for line in (home / "calls").read_text().splitlines()]
    (created,) = [call for call in calls if call[:2] == ["env", "create"]]
    file = Path(created[created.index("--file") + 1])
    assert file.read_text() == (ROOT / "workflow/envs/scwm.yaml").read_text()
    prefix = created[created.index("--prefix") + 1]
    log = (stubbed / "results/ci/logs/resolve_config/mannequins_tiny-scwm-0.log").read_text()
    assert log.splitlines()[0] == f"ran in {prefix} {prefix}/bin/python {stubbed}/scwm/__init__.py"

"""An installed wheel, away from any checkout, knows its methods and data sets."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scwm.core.freeze import Freeze

ROOT = Path(__file__).resolve().parents[2]
FROZEN = json.dumps(Freeze("a" * 40, {}).content())


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The unpacked wheel of this checkout, built from a copy: a build leaves files behind."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("scwm", "config"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
    (folder / "source/config/frozen.json").write_text(FROZEN)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    words = [*command, "-w", str(folder), str(folder / "source")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("data list", "market1501"),
        ("config --method no_space --dataset mannequins --out run/config.yaml", ""),
        ("data card msmt17", "MSMT17"),
        ("dashboard . --out page.html", "page.html"),
    ],
)
def test_commands_run_without_a_checkout(installed, tmp_path, words, told):
    (tmp_path / "history.csv").write_text("epoch,loss\n1,2\n2,1\n")
    command = [sys.executable, "-P", "-m", "scwm", *words.split()]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and told in done.stdout, done.stderr


def test_the_freeze_is_in_the_wheel_and_is_not_made_there(installed, tmp_path):
    assert (installed / "scwm/_config/frozen.json").read_text() == FROZEN
    command = [sys.executable, "-P", "-m", "scwm", "freeze", "--again"]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "no git checkout" in done.stderr


def test_templates_of_the_wheel_are_the_checkouts(installed):
    files = {path.relative_to(ROOT) for path in ROOT.glob("scwm/*/templates/*.html")}
    assert len(files) > 5
    for file in files:
        assert (installed / file).read_bytes() == (ROOT / file).read_bytes(), file


def test_config_of_the_wheel_is_the_checkouts(installed):
    files = {p.relative_to(ROOT / "config") for p in (ROOT / "config").rglob("*.yaml")}
    for file in files:
        packed = installed / "scwm/_config" / file
        assert packed.read_bytes() == (ROOT / "config" / file).read_bytes(), file
    assert len(files) > 30

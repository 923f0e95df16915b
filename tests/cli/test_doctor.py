"""`scwm doctor`: what it finds here, and what it says where something is missing."""

import json
import shutil
from importlib import metadata

import pytest

from scwm.cli import doctor
from scwm.cli.main import main
from scwm.core.yaml_files import CONFIG_DIR


def found(results):
    return {check.name: check for check in doctor.examine(results)}


def test_what_is_here_is_ok(tmp_path):
    checks = found(tmp_path)
    for name in ("Python", "torch", "numpy", "results", "data mannequins"):
        assert checks[name].status == "ok", checks[name]
    assert checks["torch"].found == metadata.version("torch")
    needed = [line for line in metadata.requires("scwm") if "extra" not in line]
    assert all(line.split(">=")[0] in checks for line in needed)
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


def test_what_is_missing_is_told(tmp_path, monkeypatch, capsys):
    versions = {"torch": "1.13.0+cpu", "numpy": None}
    real = metadata.version

    def version(name):
        if name not in versions:
            return real(name)
        if versions[name] is None:
            raise metadata.PackageNotFoundError
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(doctor, "DISK", 10**9)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setenv("SCWM_MSMT17", str(tmp_path / "absent"))
    checks = found(tmp_path)
    for name in ("torch", "numpy", "disk"):
        assert checks[name].status == "missing" and checks[name].remedy, name
    assert checks["torch"].found == "1.13.0+cpu" and "torch>=" in checks["torch"].remedy
    assert checks["git"].status == "optional" and checks["data msmt17"].status == "optional"
    assert main(["doctor", "--results", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "Missing: torch, numpy" in err
    lines = [line for line in out.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 80
    assert main(["doctor", "--json"]) == 1
    assert {"name": "numpy", "status": "missing"}.items() <= next(
        one for one in json.loads(capsys.readouterr().out) if one["name"] == "numpy"
    ).items()


def test_a_broken_entry_is_a_line_of_its_own(tmp_path, monkeypatch):
    shutil.copytree(CONFIG_DIR / "datasets", tmp_path / "datasets")
    (tmp_path / "datasets/own.yaml").write_text("title: [", encoding="utf-8")
    monkeypatch.setattr("scwm.data.entries.CONFIG_DIR", tmp_path)
    checks = found(tmp_path)
    assert checks["data own"].status == "missing" and "own.yaml" in checks["data own"].remedy
    assert checks["data mannequins"].status == "ok"


@pytest.mark.parametrize(
    ("version", "numbers"), [("2.14.1+cpu", (2, 14, 1)), ("3.0rc1", (3, 0, 1)), ("10", (10,))]
)
def test_versions_are_ordered_by_number(version, numbers):
    assert doctor._numbers(version) == numbers


@pytest.mark.parametrize(
    "words",
    [
        "data list",
        "data list --json",
        "data card mannequins",
        "config --method scwm --dataset mannequins --out config.yaml",
        "table main --datasets a --methods b --seeds 0 --claims c --out main",
        "doctor",
    ],
)
def test_a_broken_installation_is_an_error(tmp_path, monkeypatch, capsys, words):
    """Not an empty list of data sets or methods."""
    for name in ("core.yaml_files", "core.config", "core.claim_files", "data.entries"):
        monkeypatch.setattr(f"scwm.{name}.CONFIG_DIR", tmp_path / "_config")
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 1
    out, err = capsys.readouterr()
    if words == "doctor":
        assert str(tmp_path / "_config/methods") in out and "install scwm again" in out
    else:
        assert not out and "lacks its configuration" in err and "install scwm again" in err

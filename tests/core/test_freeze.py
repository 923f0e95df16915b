"""The freeze: its hashes and seed, what it refuses, and what has changed since."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scwm.core import freeze
from scwm.core.config import changed, load_benchmark, overrides_of, plain, resolve_config
from scwm.core.errors import ScwmError
from scwm.core.files import write_json
from scwm.core.freeze import Freeze, current_files, read_freeze
from scwm.core.provenance import describe_machine, describe_run
from scwm.core.settings import Config, Settings

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **os.environ,
    **{f"GIT_{who}_NAME": "a" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "a@b.c" for who in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = ENVIRONMENT | {
        "PYTHONPATH": str(folder),
        "GIT_CEILING_DIRECTORIES": str(folder.parent),
    }
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def scwm(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(folder, sys.executable, "-m", "scwm", *words)


def commit(folder: Path) -> str:
    """Commit everything; returns the commit."""
    for words in (["add", "--all"], ["commit", "--quiet", "--allow-empty", "-m", "a commit"]):
        done = run(folder, "git", *words)
        assert done.returncode == 0, done.stderr
    return run(folder, "git", "rev-parse", "HEAD").stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project that is not frozen, in a repository of its own."""
    ignored = shutil.ignore_patterns("__pycache__", "frozen.json")
    for name in ("config", "scwm"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    run(tmp_path, "git", "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def run_of(method: str, seed: int) -> Config:
    """The config of a run of config/ci.yaml."""
    overrides = overrides_of(plain(load_benchmark(ROOT / "config/ci.yaml")), "mannequins_tiny")
    return resolve_config(method, "mannequins_tiny", seed, overrides)


def frozen(project: Path) -> dict:
    return json.loads((project / "config/frozen.json").read_text())


def test_a_freeze_can_be_computed_again_by_hand(project: Path) -> None:
    """The seed depends on the frozen files alone: neither on the commit nor on the file itself."""
    done = scwm(project, "freeze")
    assert done.returncode == 0 and done.stdout.strip().endswith("config/frozen.json")
    first = frozen(project)
    assert first["commit"] == run(project, "git", "rev-parse", "HEAD").stdout.strip()
    files = first["files"]
    configs = {path.relative_to(project).as_posix() for path in project.glob("config/**/*.yaml")}
    assert configs == {name for name in files if name.startswith("config/")}
    assert {"scwm/training/trainer.py", "scwm/evaluation/ranking.py"} < files.keys()
    assert "scwm/data/mannequins/bodies.npz" in files
    for name in files.keys() - {"default settings"}:
        assert files[name] == hashlib.sha256((project / name).read_bytes()).hexdigest(), name
    defaults = json.dumps(plain(Settings()), sort_keys=True)
    assert files["default settings"] == hashlib.sha256(defaults.encode()).hexdigest()
    together = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    assert first["hash"] == together and first["seed"] == int(together, 16) % 2**31

    later = commit(project)
    assert later != first["commit"]
    assert scwm(project, "freeze", "--again").returncode == 0
    assert frozen(project) == first | {"commit": later}


def test_a_freeze_is_not_replaced_in_silence(project: Path) -> None:
    assert scwm(project, "freeze").returncode == 0
    first = frozen(project)
    claim = project / "config/claims/space_map.yaml"
    claim.write_text(claim.read_text() + "at_least: 0.5\n")
    commit(project)
    done = scwm(project, "freeze")
    assert done.returncode == 1 and "freeze already" in done.stderr and "--again" in done.stderr
    assert frozen(project) == first
    assert scwm(project, "freeze", "--again").returncode == 0
    second = frozen(project)
    assert second["seed"] != first["seed"] and second.keys() == first.keys()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("config/claims/space_map.yaml", "# edited\n"),
        ("config/methods/new.yaml", "description: new\n"),
        ("config/datasets/msmt17.yaml", None),
        ("scwm/core/settings.py", "# edited\n"),
        ("scwm/training/trainer.py", "# edited\n"),
    ],
)
def test_what_is_not_committed_is_not_frozen(project: Path, path: str, text: str | None) -> None:
    if text is None:
        (project / path).unlink()
    else:
        with (project / path).open("a") as file:
            file.write(text)
    done = scwm(project, "freeze")
    assert done.returncode == 1 and path in done.stderr and "remedy: commit" in done.stderr
    assert not (project / "config/frozen.json").exists()


def test_a_freeze_needs_git(project: Path) -> None:
    shutil.rmtree(project / ".git")
    done = scwm(project, "freeze")
    assert done.returncode == 1 and "no git checkout" in done.stderr and "clone" in done.stderr
    assert not (project / "config/frozen.json").exists()


def test_a_repository_around_a_tarball_is_not_the_projects(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is the one whose hook runs; the commit of either says nothing about the code."""
    head = run(project, "git", "rev-parse", "HEAD").stdout.strip()
    monkeypatch.setattr(freeze, "PACKAGE", project / "scwm")
    assert (describe_machine()["commit"], describe_machine()["dirty"]) == (head, False)
    (project / "scwm/__init__.py").write_text("")
    assert (describe_machine()["commit"], describe_machine()["dirty"]) == (head, True)

    unpacked = project / "unpacked/scwm"
    shutil.copytree(project / "scwm/core", unpacked / "core")
    commit(project)
    monkeypatch.setattr(freeze, "PACKAGE", unpacked)
    for name in ("GIT_DIR", "GIT_INDEX_FILE"):
        assert (describe_machine()["commit"], describe_machine()["dirty"]) == (None, None)
        monkeypatch.setenv(name, str(project / ".git"))
    run(project / "unpacked", "git", "init", "--quiet")
    own = commit(project / "unpacked")
    assert describe_machine()["commit"] == own


def test_check_lists_what_has_changed(project: Path) -> None:
    done = scwm(project, "freeze", "--check")
    assert done.returncode == 1 and "Nothing is frozen" in done.stderr
    scwm(project, "freeze")
    claims = project / "config/claims"
    shutil.copy(claims / "space_map.yaml", claims / "new.yaml")
    done = scwm(project, "freeze", "--check")
    added, unchanged = done.stdout.splitlines()
    assert done.returncode == 0 and added == "added after the freeze: config/claims/new.yaml"
    assert unchanged.startswith("unchanged since the freeze at commit")
    (claims / "space_map.yaml").write_text("")
    (project / "config/methods/scwm.yaml").unlink()
    settings = project / "scwm/core/settings.py"
    text = settings.read_text()
    settings.write_text(text.replace("momentum: Share = 0.1", "momentum: Share = 0.2"))
    done = scwm(project, "freeze", "--check")
    assert done.returncode == 1 and "3 of" in done.stderr
    assert done.stdout.splitlines() == [
        "added after the freeze: config/claims/new.yaml",
        "altered after the freeze: config/claims/space_map.yaml",
        "missing after the freeze: config/methods/scwm.yaml",
        "altered after the freeze: default settings",
    ]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of config/ that is frozen."""
    ignored = shutil.ignore_patterns("frozen.json")
    folder = shutil.copytree(ROOT / "config", tmp_path / "config", ignore=ignored)
    monkeypatch.setattr(freeze, "CONFIG_DIR", folder)
    assert read_freeze() is None
    write_json(Freeze("a" * 40, current_files()).content(), folder / "frozen.json")
    return folder


def recorded(config: Config) -> str | None:
    return describe_run(config, "", "")["frozen"]


def test_a_run_records_the_freeze_that_it_was_trained_under(config: Path) -> None:
    """None once a frozen file has changed: the run was made with something else."""
    wanted = json.loads((config / "frozen.json").read_text())["hash"]
    shutil.copy(config / "claims/space_map.yaml", config / "claims/new.yaml")
    (config / "broken.yaml").write_text("[")
    assert recorded(run_of("scwm", 7)) == wanted
    (config / "claims/space_map.yaml").unlink()
    assert recorded(run_of("scwm", 7)) is None


@pytest.mark.parametrize(
    ("method", "change", "frozen"),
    [
        ("scwm", {}, True),
        ("scwm@model.parts=3", {}, True),
        ("scwm", {"pseudo_labels": {"eps": 0.45}}, False),
        ("scwm", {"losses": {"separation": 0}}, False),
        ("scwm", {"dataset": "toy"}, False),
        ("scwm", {"method": "unknown"}, False),
    ],
)
def test_a_run_with_other_settings_was_not_frozen(
    config: Path, method: str, change: dict, frozen: bool
) -> None:
    """`--set` and a config file of one's own do not get the name of the freeze."""
    assert (recorded(changed(run_of(method, 0), change)) is not None) == frozen


def test_settings_of_a_config_added_later_were_not_frozen(config: Path) -> None:
    tuned = plain(load_benchmark(config / "config.yaml"))
    tuned["settings"]["training"]["weight_decay"] = 0.0123
    write_json(tuned, config / "tuned.yaml")
    own = overrides_of(plain(load_benchmark(config / "tuned.yaml")), "mannequins")
    assert recorded(resolve_config("scwm", "mannequins", 0, own)) is None


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"hash": "0"}, {"files": {}}, {"files": [1]}, {"commit": None}, {"more": 1}],
)
def test_a_freeze_that_was_edited_is_refused(config: Path, change: dict) -> None:
    path = config / "frozen.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ScwmError, match=r"(?s)damaged.*frozen\.json.*remedy"):
        read_freeze()
    path.write_text("[")
    with pytest.raises(ScwmError, match="damaged"):
        read_freeze()


def test_json_is_rounded_in_every_container(tmp_path):
    """Its bytes depend on the content only, whether a list or a tuple holds it."""
    third, rounded = 1 / 3, 0.333333
    write_json({"a": [third, {"b": (third, [third])}]}, tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    assert found == {"a": [rounded, {"b": [rounded, [rounded]]}]}

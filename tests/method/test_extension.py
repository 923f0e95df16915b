"""The worked examples of docs/contributing.md, in a copy of the project: found by name, planned by
the workflow, passing the contract tests; and what an addition leaves as it is."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import test_contracts as contracts
import torch
import yaml
from PIL import Image
from test_contracts import batch, crops  # noqa: F401, fixtures
from torch import Tensor
from workflow_copy import plain_environment

from scwm.core.plugins import KINDS, SPACE_CORRECTIONS, Kind
from scwm.method.weighting import Samples
from scwm.training import checkpoint

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(r"^```(?:python|yaml)\n# (\S+\.(?:py|yaml))\n(.*?)^```", re.M | re.S)
EXAMPLES = dict(EXAMPLE.findall((ROOT / "docs/contributing.md").read_text()))
FOLDERS = {f"scwm/{kind.folder}" for kind in KINDS} | {
    *("config/methods", "config/datasets", "config/claims")
}
FOLDERS_OF_MARKET = ("bounding_box_train", "query", "bounding_box_test")
LINES = 40
MODULES_OF_JOINED = ("pseudo_labels/clusterings/components", "strategies/below_mean")
NAMES = sorted({Path(path).stem for path in EXAMPLES})


def python(folder: Path, *arguments: str) -> str:
    """What a Python module prints, run in the project at `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=plain_environment() | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """A copy of the project with the examples, and a folder of crops for each data set."""
    copy = tmp_path_factory.mktemp("extended")
    for name in ("config", "scwm", "tests", "workflow"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns(".snakemake"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for path, text in EXAMPLES.items():
        (copy / path).write_text(f"# {path}\n{text}")
    draws = np.random.default_rng(0)
    for split, folder in zip(("train", "query", "gallery"), FOLDERS_OF_MARKET, strict=True):
        for camera in (1, 2):
            pixels = draws.integers(0, 256, (32, 16, 3), dtype=np.uint8)
            lobby = copy / f"lobby/{folder}/0007_c{camera}_a.png"
            for path in (lobby, copy / f"arcade/{split}/cam{camera}/7/a.png"):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return copy


def test_every_kind_has_an_example_of_one_small_file():
    assert {str(Path(path).parent) for path in EXAMPLES} == FOLDERS
    for path, text in EXAMPLES.items():
        assert not (ROOT / path).exists(), path
        assert len(text.splitlines()) + 1 <= LINES, path


def test_the_examples_are_in_the_projects_style(extended):
    sources = [path for path in EXAMPLES if path.endswith(".py")]
    python(extended, "ruff", "check", *sources)
    python(extended, "ruff", "format", "--check", *sources)


def test_the_contract_tests_take_up_the_examples(extended):
    """A few steps of training with the strategy and the method among them."""
    files = [f"tests/method/{name}.py" for name in ("test_contracts", "test_contracts_config")]
    files += ["tests/models/test_backbones.py"]
    chosen = ["-k", " or ".join(NAMES), "--verbose", "-p", "no:cacheprovider"]
    told = python(extended, "pytest", *files, "tests/training/test_training.py", *chosen)
    passed = set(re.findall(r"::(\w+)\[(?:\S*-)?(\w+?)(?:-\[\d.*)?\] PASSED", told))
    assert {name for _, name in passed} >= set(NAMES), told
    assert {("test_strategy_trains", "below_mean"), ("test_claim", "double_separation")} <= passed
    trained = {"double_separation", "joined"}
    assert {("test_contract_of_every_method", name) for name in trained} <= passed


def test_a_method_of_its_own_takes_sixty_lines(extended):
    """`joined` with its two modules, which its config names."""
    own = ("config/methods/joined.yaml", *(f"scwm/method/{m}.py" for m in MODULES_OF_JOINED))
    assert sum(len(EXAMPLES[path].splitlines()) + 1 for path in own) <= 60
    words = ("--method", "joined", "--dataset", "mannequins", "--out", "joined.yaml")
    python(extended, "scwm", "config", *words)
    config = yaml.safe_load((extended / "joined.yaml").read_text())
    assert config["pseudo_labels"]["clustering"] == "components"
    assert config["memory"]["part_strategy"] == "below_mean"


def test_the_workflow_finds_the_examples(extended):
    sweep = {
        "memory.part_strategy": "below_mean",
        "parsing.foreground_correction": "whole_bodies",
        "parsing.space_correction": "bands",
        "model.backbone": "resnet34",
    }
    told = python(
        extended,
        *("snakemake", "--dry-run", "--configfile", "config/ci.yaml", "--config", "seeds=[0]"),
        *("datasets=[lobby,arcade]", "methods=[scwm,double_separation]", "claims=null"),
        "sources={lobby: lobby, arcade: arcade}",
        "settings={model: {weights: imagenet}}",
        f"sweep={{{', '.join(f'{key}: [{value}]' for key, value in sweep.items())}}}",
    )
    methods = ["double_separation", *(f"scwm@{key}={value}" for key, value in sweep.items())]
    for dataset in ("lobby", "arcade"):
        for method in methods:
            assert f"train {method} on {dataset}, seed 0" in told
    assert "get weights of resnet34 from imagenet" in told


@pytest.mark.parametrize("name", ["lobby", "arcade"])
def test_a_data_set_of_the_examples_is_verified(extended, name):
    told = python(extended, "scwm", "data", "get", name, "--source", name, "--out", f"raw/{name}")
    rows = (extended / f"raw/{name}/manifest.csv").read_text().splitlines()
    assert len(rows) == 1 + 6, told
    assert "agreed in writing" in python(extended, "scwm", "data", "card", name)
    assert python(extended, "scwm", "data", "verify", name, "--root", f"raw/{name}")


def by_place(samples: Samples, tau: float) -> Tensor:
    rising = torch.linspace(1, 2, len(samples.labels))
    return samples.visibility * rising.view(-1, *(1,) * (samples.difficulty.ndim - 1))


WRONG: dict[str, Callable[[Samples, float], Tensor]] = {
    "hidden samples weigh": lambda samples, tau: torch.ones_like(samples.difficulty),
    "one cluster takes all": lambda samples, tau: (
        samples.visibility * (samples.difficulty >= samples.difficulty.max())
    ),
    "by the place in the batch": by_place,
    "negative": lambda samples, tau: samples.visibility * (1 - samples.difficulty),
    "written to": lambda samples, tau: samples.visibility.mul_(2),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_strategy_fails_its_contract(batch, monkeypatch, name):  # noqa: F811
    monkeypatch.setattr(Kind, "load", lambda *_: SimpleNamespace(weights=WRONG[name]))
    with pytest.raises(AssertionError):
        contracts.test_weights_of_a_strategy(batch, name, 0.1)
        contracts.test_strategy_sees_one_cluster_and_one_part_at_a_time(batch, name)
        contracts.test_strategy_only_reads(batch, name)


def test_a_wrong_correction_fails_its_contract(crops, monkeypatch):  # noqa: F811
    cluster = SPACE_CORRECTIONS.load("body_rows").cluster_parts

    def upside_down(*given: Any) -> Tensor:
        found = cluster(*given)
        return torch.where(found > 0, given[-1] + 1 - found, 0).to(torch.uint8)

    wrong = SimpleNamespace(cluster_parts=upside_down, correct_foreground=lambda _, first: ~first)
    monkeypatch.setattr(Kind, "load", lambda *_: wrong)
    for contract in (contracts.test_foreground_correction, contracts.test_space_correction):
        with pytest.raises(AssertionError):
            contract(crops, "wrong")


def test_a_checkpoint_is_of_the_modules_that_its_run_names(tmp_path, monkeypatch, tiny_config):
    """Another strategy, new or edited, leaves an unfinished training as it is; its own does not."""
    ignored = shutil.ignore_patterns("__pycache__", "*.npz")
    package = shutil.copytree(ROOT / "scwm", tmp_path / "scwm", ignore=ignored)
    monkeypatch.setattr(checkpoint, "PACKAGE", package)
    before = checkpoint.training_key(tiny_config(), "data", "weights")
    for path, text in EXAMPLES.items():
        if path.startswith("scwm/"):
            (tmp_path / path).write_text(text)
    edited = (
        "method/strategies/hardest.py",
        "models/backbones/resnet50.py",
        "data/layouts/msmt17.py",
    )
    for path in edited:
        (package / path).write_text((package / path).read_text() + "# edited\n")
    assert checkpoint.training_key(tiny_config(), "data", "weights") == before
    own = package / "method/strategies/noise_suppression.py"
    own.write_text(own.read_text() + "# edited\n")
    after = checkpoint.training_key(tiny_config(), "data", "weights")
    assert {key for key in after if after[key] != before[key]} == {
        "code method/strategies/noise_suppression.py"
    }

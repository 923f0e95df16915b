"""The workflow's configs: what its schema refuses, and the graphs that they build."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from workflow_copy import ROOT, job_counts, snakemake

CONFIGS = ("config", "ci", "market1501_small", "market1501_cpu", "paper")


def read_config(name: str) -> dict:
    return yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())


def validate(config: dict) -> dict:
    from snakemake.utils import validate

    validate(config, str(ROOT / "workflow/schemas/config.schema.yaml"))
    return config


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configs_fit_the_schema_and_the_base(name: str) -> None:
    from scwm.core.config import merge, resolve_config

    config = validate(read_config(name))
    for dataset in config["datasets"]:
        settings = merge(config["settings"], config["dataset_settings"].get(dataset, {}))
        for method in config["methods"]:
            resolve_config(method, dataset, config["seeds"][0], settings)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 3},
        {"settings": {"optimiser": {"name": "adam"}}},
        {"methods": ["scwm; rm -rf ."]},
        {"datasets": ["../market1501"]},
        {"sources": {"market-1501": "/data"}},
        {"results": "/tmp/results"},
        {"seeds": [0, 0]},
        {"methods": []},
    ],
)
def test_schema_refuses(change: dict) -> None:
    from snakemake_interface_common.exceptions import WorkflowError

    with pytest.raises(WorkflowError, match=next(iter(change))):
        validate(read_config("ci") | change)


def test_schema_fills_in_defaults() -> None:
    config = validate({"datasets": ["mannequins"], "methods": ["scwm"], "seeds": [0]})
    assert config["results"] == "results"
    assert config["gpu"] is False
    assert config["settings"] == config["dataset_settings"] == config["sources"] == {}


def test_reading_the_workflow_needs_no_torch() -> None:
    code = "import sys, scwm.core.config; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_paper_graph_is_whole_and_names_missing_data(tmp_path: Path) -> None:
    done = snakemake(
        ROOT,
        *("--dry-run", "--quiet", "rules", "--directory", str(tmp_path)),
        *("--configfile", str(ROOT / "config/paper.yaml")),
    )
    assert done.returncode == 0, done.stderr

    config = read_config("paper")
    variants = sum(map(len, config["sweep"].values()))
    runs = len(config["datasets"]) * (len(config["methods"]) + variants) * len(config["seeds"])
    counts = job_counts(done.stdout + done.stderr)
    assert counts["resolve_config"] == counts["train"] == counts["evaluate"] == runs == 246
    assert counts == documented_jobs("paper")

    for dataset in config["datasets"]:
        variable = read_config(f"datasets/{dataset}")["env"]
        assert f"Data set {dataset} " in done.stdout
        assert f"{variable}=PATH" in done.stdout


def documented_jobs(config: str) -> dict[str, int]:
    """The jobs of a benchmark as docs/workflow.md lists them."""
    text = (ROOT / "docs/workflow.md").read_text()
    header, _, *rows = re.findall(r"<!-- jobs -->\n(.*?)\n<!--", text, re.S)[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (header, *rows)]
    column = cells[0].index(f"`config/{config}.yaml`")
    return {row[0]: int(row[column]) for row in cells[1:]}


def test_the_embedded_graph_is_as_documented(tmp_path: Path) -> None:
    done = snakemake(ROOT, "--dry-run", "--quiet", "rules", "--directory", str(tmp_path))
    assert job_counts(done.stdout + done.stderr) == documented_jobs("config")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("methods=[scmw]", "scmw"),
        ("sweep={model.prts: [4]}", "Did you mean 'model.parts'"),
        ("sweep={model.parts: [6]}", "scwm@model.parts=6 is scwm itself"),
        ("sweep={model.parts: [../6]}", "sweep"),
        ("datasets=[market1502]", "Unknown data set 'market1502'"),
        ("settings={training: {epoch: 3}}", "training.epoch"),
        ("settings={training: {epochs: 0}}", "training.epochs is"),
    ],
)
def test_unknown_names_stop_a_dry_run(setting: str, message: str, tmp_path: Path) -> None:
    arguments = ["--dry-run", "--directory", str(tmp_path)]
    config = ["--configfile", str(ROOT / "config/ci.yaml"), "--config", setting]
    done = snakemake(ROOT, *arguments, *config)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_seeds_may_be_named_on_the_command_line(tmp_path: Path) -> None:
    """Snakemake hands the numbers of a list over as text."""
    arguments = ["--dry-run", "--directory", str(tmp_path)]
    config = ["--configfile", str(ROOT / "config/ci.yaml"), "--config", "seeds=[3,4]"]
    done = snakemake(ROOT, *arguments, *config)
    found = set(re.findall(r"train scwm on mannequins_tiny, seed (\d+)", done.stdout + done.stderr))
    assert found == {"3", "4"}

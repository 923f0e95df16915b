"""The workflow: what its schema refuses, the graph it builds, what an edit makes it redo."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ("config", "ci", "market1501_small", "paper")

# Stands in for the command line in a copy of the project: records its arguments, and writes
# what each command promises, empty.
STUB = """
import json, sys
from pathlib import Path

FILES = {
    "data get": ["manifest.csv"],
    "data store": ["images.npy", "index.csv", "store.json"],
    "train": ["model.pt", "history.csv", "train.json"],
    "evaluate": ["metrics.json", "visuals.npz", "features.npz", "provenance.json"],
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
        if "--metrics" in arguments:
            files.append(Path(arguments[arguments.index("--metrics") + 1]))
    else:
        files = [out / name for name in FILES[command]] if command in FILES else [out]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    return 0
"""


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow of the project at `folder`, with no data set in the environment."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SCWM_")}
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
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


def read_config(name: str) -> dict:
    return yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())


def validate(config: dict) -> dict:
    from snakemake.utils import validate

    validate(config, str(ROOT / "workflow/schemas/config.schema.yaml"))
    return config


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configs_fit_the_schema_and_the_base(name: str) -> None:
    from scwm.config import merge, resolve_config

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
    code = "import sys, scwm.config; print('torch' in sys.modules)"
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


@pytest.fixture
def stubbed(tmp_path: Path) -> Path:
    """A copy of the project with the stand-in command line."""
    for name in ("config", "scwm", "workflow"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".snakemake")
        )
    (tmp_path / "scwm/cli.py").write_text(STUB)
    return tmp_path


def test_edits_redo_what_depends_on_them(stubbed: Path) -> None:
    """One run of the whole graph with a stand-in command line, then one edit after another."""
    source = "data/it's here; $HOME"
    select = [
        *("--configfile", "config/ci.yaml", "--config", "seeds=[0]"),
        "methods=[scwm,hard_memory]",
        f'sources={{mannequins_tiny: "{source}"}}',
    ]

    done = snakemake(stubbed, "--cores", "2", *select)
    assert done.returncode == 0, done.stdout + done.stderr
    log = (stubbed / "results/logs/get_dataset/mannequins_tiny.log").read_text()
    assert source in log  # one argument, untouched by the shell

    def jobs_after(*paths: str, text: str = "\n# edited\n") -> dict[str, int]:
        """Jobs once these files, which need not be there yet, end with `text`."""
        files = [stubbed / path for path in paths]
        before = [file.read_text() if file.exists() else None for file in files]
        for file, old in zip(files, before, strict=True):
            file.write_text((old or "") + text)
        jobs = planned(stubbed, *select)
        for file, old in zip(files, before, strict=True):
            file.unlink() if old is None else file.write_text(old)
        return jobs

    def after_editing(*paths: str) -> set[str]:
        return set(jobs_after(*paths)) - {"total"}

    # What no run of the config names, some of it new.
    assert after_editing(
        *("config/methods/stripes.yaml", "config/methods/new.yaml", "scwm/data/layouts/msmt17.py"),
        *("scwm/data/layouts/new.py", "scwm/parsing/foreground_corrections/new.py"),
        *("scwm/models/backbones/new.py", "scwm/models/backbones/resnet50.py"),
    ) == set()  # fmt: skip
    assert after_editing("config/base.yaml", "config/methods/scwm.yaml") == set()
    base = stubbed / "config/base.yaml"
    text = base.read_text()
    base.write_text(text.replace("global_strategy: hard_mining", "global_strategy: uniform"))
    assert planned(stubbed, *select)["train"] == 1  # `hard_memory` has a strategy of its own
    base.write_text(text)
    after_training = {"evaluate", "study", "table", "plot", "page", "all"}
    assert after_editing("config/published_results.csv") == {"table", "page", "all"}
    assert after_editing("scwm/losses.py") == {"train", *after_training}
    assert after_editing("config/claims/space_map.yaml") == {"table", "plot", "page", "all"}
    assert after_editing("scwm/reporting/tables.py") == {"table", "plot", "page", "all"}
    renderer = min((stubbed / "scwm/data/mannequins").glob("*.py")).relative_to(stubbed)
    assert after_editing(str(renderer)) >= {"get_dataset", "build_store", "train"}

    # Of the modules that are found by name, a run depends on those that its config names.
    assert after_editing("scwm/strategies/new.py") == after_training - {"evaluate"}
    assert jobs_after("scwm/strategies/hardest.py")["train"] == 1  # `hard_memory`
    assert after_editing("scwm/data/layouts/market1501.py") >= {"build_store", "train"}

    # A run that is gone leaves a gap in `partial`, which trains nothing.
    (stubbed / "results/runs/mannequins_tiny/scwm/seed0/metrics.json").unlink()
    jobs = planned(stubbed, "partial", *select)
    assert set(jobs) - {"total"} == {"partial"}


def test_killed_workflow_leaves_nothing_to_unlock(stubbed: Path) -> None:
    """A second run in the folder is refused while the first lives, and no longer."""
    one_run = ["--config", "methods=[scwm]", "seeds=[0]"]
    select = ["--cores", "1", "--configfile", "config/ci.yaml", *one_run]
    stub, started = stubbed / "scwm/cli.py", stubbed / "started"
    stub.write_text(f"import time; open({str(started)!r}, 'w'); time.sleep(60)\n" + STUB)
    first = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *select],
        cwd=stubbed,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not started.exists():
        assert first.poll() is None
        time.sleep(0.05)
    refused = snakemake(stubbed, *select)
    told = refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert f"Another run (process {first.pid}) works in this folder" in told
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    stub.write_text(STUB)
    done = snakemake(stubbed, *select)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (stubbed / "results/ci/report.html").exists()


def pinned() -> dict[str, str]:
    """Package -> version in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().split()
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


CONDA_NAMES = {
    "pytorch-gpu": "torch",
    "pytorch-cpu": "torch",
    "faiss-gpu": "faiss-cpu",
    "matplotlib-base": "matplotlib",
    "snakemake-minimal": "snakemake",
}
NOT_FROM_PYPI = {"python", "pip", "conda"}


@pytest.mark.parametrize(
    "path", ["environment.yml", "workflow/envs/scwm.yaml", "workflow/envs/scwm-cpu.yaml"]
)
def test_conda_environments_agree_with_the_pins(path: str) -> None:
    versions = pinned()
    entries = yaml.safe_load((ROOT / path).read_text())["dependencies"]
    for entry in (entry for entry in entries if isinstance(entry, str)):
        name, _, wanted = entry.partition(" ")
        if name not in NOT_FROM_PYPI:
            version = versions[canonicalize_name(CONDA_NAMES.get(name, name))]
            assert SpecifierSet(wanted).contains(version), f"{entry}, but pinned is {version}"


def test_every_requirement_is_pinned() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *extras["workflow"], *extras["dev"]]
    versions = pinned()
    for requirement in map(Requirement, [*requirements, *extras["faiss-cpu"]]):
        if requirement.name != project["name"]:
            version = versions[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{requirement}, pinned is {version}"

"""The workflow's configs: what is refused, and the graphs that they build."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from workflow_copy import ROOT, job_counts, snakemake

from scwm import reporting
from scwm.cli.planned_runs import planned_configs
from scwm.core.config import (
    load_benchmark,
    method_names,
    overrides_of,
    plain,
    resolve_config,
)
from scwm.reporting.catalogue import PLOTS, TABLES, asked
from scwm.reporting.tables.claims import load_claims

CONFIGS = (
    *("config", "benchmark", "baselines", "baselines_market1501", "ci"),
    *("market1501_small", "market1501_cpu", "paper"),
)


def read_config(name: str) -> dict:
    return yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configs_fit_every_method(name: str) -> None:
    config = load_benchmark(ROOT / f"config/{name}.yaml")
    for dataset in config.datasets:
        for method in config.methods:
            resolve_config(method, dataset, config.seeds[0], overrides_of(plain(config), dataset))


def test_reading_the_workflow_needs_pyyaml_and_pydantic_only() -> None:
    """Snakemake may run in an environment without the rules' packages."""
    rules = (ROOT / "workflow/rules/common.smk").read_text()
    imports = re.findall(r"^from scwm[\w.]* import (?:\([^)]*\)|[^\n(]*)", rules, re.M)
    names = "('torch', 'numpy', 'pandas', 'scipy', 'PIL', 'snakemake')"
    code = [*imports, "import sys", f"print([name for name in {names} if name in sys.modules])"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(imports) > 8 and done.stdout.strip() == "[]"


def test_baselines_train_methods_with_one_setting_changed() -> None:
    config = load_benchmark(ROOT / "config/baselines.yaml")
    assert len(planned_configs(config)) == len(config.methods) * len(config.seeds)
    assert sum("@" in method for method in config.methods) > 5


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
    assert counts["resolve_config"] == counts["train"] == counts["evaluate"] == runs == 306
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


def test_each_run_is_scored_on_each_other_data_set(tmp_path: Path) -> None:
    select = ["--dry-run", "--printshellcmds", "--directory", str(tmp_path), "--config"]
    names = ["datasets=[mannequins,mannequins_tiny]", "methods=[scwm,pretrained]", "seeds=[0,1]"]
    source = "sources={market1501: https://host/market.zip}"
    done = snakemake(ROOT, *select, *names, "transfer=[mannequins_tiny,market1501]", source)
    told = done.stdout + done.stderr
    assert done.returncode == 0 and "cannot be used yet" not in told, told
    scored = re.findall(r"evaluate (\S+) --transfer --store (\S+)", told)
    runs = [f"{method}/seed{seed}" for method in ("scwm", "pretrained") for seed in (0, 1)]
    assert sorted(scored) == sorted(
        (f"results/runs/{own}/{run}", f"data/stores/{other}/128x64")
        for own, other in (
            ("mannequins", "mannequins_tiny"),
            ("mannequins", "market1501"),
            ("mannequins_tiny", "market1501"),
        )
        for run in runs
    )
    counts = job_counts(told)
    assert (counts["train"], counts["transfer"]) == (2 * 2 * 2, 12)
    assert (counts["table"], counts["plot"]) == (len(reporting.TABLES), len(reporting.PLOTS))
    assert "scwm table transfer" in told and "--transfer mannequins_tiny market1501" in told


def test_an_unknown_name_stops_a_dry_run(tmp_path: Path) -> None:
    """Of a claim; tests/cli/test_benchmark_command.py has more mistakes."""
    arguments = ["--dry-run", "--directory", str(tmp_path)]
    config = ["--configfile", str(ROOT / "config/ci.yaml"), "--config", "claims=[tiny_spce]"]
    done = snakemake(ROOT, *arguments, *config)
    assert done.returncode != 0
    told = done.stdout + done.stderr
    assert "Unknown claim 'tiny_spce'. Did you mean 'tiny_space'" in told
    assert "Traceback" not in told
    error = told[told.index("WorkflowError") :]
    assert len(error.strip().splitlines()) <= 10


def test_the_ablation_check_decides_what_its_config_names(tmp_path: Path) -> None:
    """Each claim is required and has its runs; every table, figure and page gets the names."""
    config = load_benchmark(ROOT / "config/ci.yaml")
    found = {claim.name: claim for claim in load_claims() if claim.name in config.claims}
    assert len(found) == len(config.claims) > 4
    for claim in found.values():
        sides = {side.method for side in (claim.side, claim.rival)}
        assert claim.kind == "required" and sides <= set(config.methods)
        assert set(config.datasets) <= set(claim.datasets) and len(config.seeds) > 1
    done = snakemake(
        ROOT,
        *("--dry-run", "--printshellcmds", "--directory", str(tmp_path)),
        *("--configfile", str(ROOT / "config/ci.yaml")),
    )
    commands = re.findall(r"python -m scwm (?:table|plot|page) .*", done.stdout + done.stderr)
    given = f" --claims {' '.join(config.claims)} --runs "
    made = [asked(names, config.datasets, config.transfer) for names in (TABLES, PLOTS)]
    assert len(commands) == len(made[0]) + len(made[1]) + 1
    assert all(given in command for command in commands)


def settings_of_runs(folder: Path, *arguments: str) -> list[dict]:
    """Method, seed and resolved config of each run that a dry run plans."""
    done = snakemake(folder, "--dry-run", "--printshellcmds", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.findall(
        r"scwm config --method (\S+) .* --seed (\d+) --overrides '(.*)' --out",
        done.stdout + done.stderr,
    )
    texts = [(m, s, o.replace("'\"'\"'", "'")) for m, s, o in found]  # an apostrophe in a shell
    return [{"method": m, "seed": int(s), "settings": json.loads(o)} for m, s, o in texts]


def test_values_of_the_command_line_are_numbers(tmp_path: Path) -> None:
    """Snakemake hands the numbers of lists and mappings over as text."""
    runs = settings_of_runs(
        ROOT,
        *("--directory", str(tmp_path), "--configfile", str(ROOT / "config/ci.yaml"), "--config"),
        *("seeds=[3,4]", "methods=[scwm]"),
        "settings={training: {epochs: 7, learning_rate: 1e-4, deterministic: true}}",
    )
    assert {run["seed"] for run in runs} == {3, 4} and len(runs) == 2
    expected = {"epochs": 7, "learning_rate": 1e-4, "deterministic": True, "iterations": 10}
    for run in runs:
        training = run["settings"]["training"]
        assert {key: training[key] for key in expected} == expected
        assert type(training["epochs"]) is int and training["deterministic"] is True


def test_a_run_and_its_weights_may_have_a_name_of_timm(tmp_path: Path) -> None:
    """As the backbone of a benchmark and as a value of its sweep."""
    done = snakemake(
        ROOT,
        *("--dry-run", "--directory", str(tmp_path), "--config", "methods=[scwm]", "seeds=[0]"),
        "settings={model: {backbone: timm/resnet18, weights: pretrained, batch_norm: batch}}",
        "sweep={model.backbone: [timm/test_vit.r160_in1k]}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout + done.stderr
    for name in ("resnet18", "test_vit.r160_in1k"):
        assert f"get weights of timm/{name} from pretrained" in told
    assert "train scwm@model.backbone=timm+test_vit.r160_in1k on mannequins, seed 0" in told


@pytest.mark.parametrize(
    ("profile", "setting", "threads"),
    [("default", "gpu=true", 8), ("gpu", "threads_per_run=3", 3)],
)
def test_every_profile_gives_a_run_its_threads(
    profile: str, setting: str, threads: int, tmp_path: Path
) -> None:
    """One for each process without a GPU, eight with one; a profile changes nothing."""
    done = snakemake(
        *(ROOT, "--dry-run", "--printshellcmds", "--cores", "32", "--directory", str(tmp_path)),
        *("--workflow-profile", str(ROOT / "workflow/profiles" / profile)),
        *("--config", "methods=[scwm]", "seeds=[0]", setting),
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"OMP_NUM_THREADS=\D*(\d+)", done.stdout + done.stderr)
    assert found == [str(threads)] * 3, "to train, to evaluate and to study"


def test_a_config_file_of_two_lines_changes_the_default_only_there(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seeds: [0, 1]\nsettings: {training: {epochs: 3}}\n")
    runs = settings_of_runs(
        ROOT, "--directory", str(tmp_path), "--configfile", str(tmp_path / "mine.yaml")
    )
    default = read_config("config")
    settings = default["settings"] | {"training": default["settings"]["training"] | {"epochs": 3}}
    for run in runs:
        expected = resolve_config(run["method"], "mannequins", run["seed"], settings)
        assert run["settings"] == plain(expected)
    assert {run["method"] for run in runs} == {*default["methods"]}
    assert len(runs) == 2 * 12 and {run["seed"] for run in runs} == {0, 1}


def test_the_whole_benchmark_contains_the_demo(tmp_path: Path) -> None:
    """It has every method, ten seeds and the demo's settings, so that no run is trained twice.

    The methods of Cluster Contrast, SpCL and PPLR are younger than the freeze of its claims.
    """
    whole = load_benchmark(ROOT / "config/benchmark.yaml")
    demo = load_benchmark(ROOT / "config/config.yaml")
    younger = {"cluster_contrast", "cluster_contrast_hard", "spcl", "pplr", "ise"}
    younger |= {"spcl_parsed", "pplr_parsed", "pplr_cameras", "ise_parsed"}
    assert {*whole.methods} == {*method_names()} - younger and {*demo.methods} < {*whole.methods}
    assert whole.seeds == list(range(10)) and demo.seeds == [0]
    names = ("datasets", "results", "settings", "dataset_settings")
    assert all(getattr(whole, name) == getattr(demo, name) for name in names)


def test_a_wrong_key_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: [0, 1]\n")
    done = snakemake(
        ROOT, "-n", "--directory", str(tmp_path), "--configfile", str(tmp_path / "mine.yaml")
    )
    told = done.stdout + done.stderr
    assert done.returncode != 0 and "Unknown key 'seed'" in told and "mean 'seeds'?" in told
    assert "where:  mine.yaml, " in told and "properties" not in told


def test_unlabelled_crops_are_planned_by_the_workflow(tmp_path: Path) -> None:
    """Its commands name the crops and the file of weights."""
    for name in ("crops/1.jpg", "toy.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    done = snakemake(
        *(ROOT, "--dry-run", "--printshellcmds", "--directory", str(tmp_path), "--config"),
        *("datasets=[folder]", "sources={folder: crops}", "methods=[scwm]", "seeds=[0]"),
        "settings={model: {weights: toy.pt}}",
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert re.search(r"scwm data get folder .*--source crops\b", told)
    assert re.search(r" train \S+/folder/scwm/seed0 .*--weights toy\.pt\b", told)

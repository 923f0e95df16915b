# Names, paths and settings that the rules share.
import json
import os
import shlex
import sys
from functools import cache
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import DeploymentMethod

sys.path.insert(0, str(Path(workflow.basedir).parent))
# These need nothing but PyYAML.
from scwm.core.config import merge, named_modules, read_yaml, resolve_config, split_variant
from scwm.core.errors import ScwmError
from scwm.core.lock import Lock
from scwm.core.plugins import BACKBONES, FOREGROUND_CORRECTIONS, LAYOUTS, SPACE_CORRECTIONS
from scwm.core.sources import sources
from scwm.reporting.catalogue import CAPTIONS, PLOTS, REFERENCE, TABLES, TITLES, methods_of

NAME = "[a-z0-9_]+"
VARIANT = rf"{NAME}(@{NAME}\.{NAME}=[A-Za-z0-9_.+-]+)?"
# Relative, so that a moved checkout is not out of date; "." but for --directory.
ROOT = Path(os.path.relpath(Path(workflow.basedir).parent))
READ_OF_RUNS = ("config.yaml", "metrics.json", "history.csv", "provenance.json")
TABLE_FORMATS = ("csv", "md", "html", "tex")
PLOT_FORMATS = ("png", "svg")


def hold_folder():
    """One run at a time in this folder. The profiles turn Snakemake's own lock off (`nolock`): it
    outlives a killed run and must be removed by hand; the kernel frees this one with its process.
    """
    global folder_lock
    folder_lock = Lock(Path(".snakemake/scwm.core.lock"))
    if workflow.is_main_process and not folder_lock.acquire():
        raise WorkflowError(
            f"Another run (process {folder_lock.holder()}) works in this folder: wait for its end "
            "or stop it. There is nothing to unlock."
        )


def read_registry():
    """config/datasets, each entry with what it has from its base (all but the counts)."""
    files = sorted((ROOT / "config/datasets").glob("*.yaml"))
    entries = {file.stem: read_yaml(file) for file in files}
    bases = {name: entries.get(entry.get("base"), {}) for name, entry in entries.items()}
    return {
        name: {k: v for k, v in bases[name].items() if k != "counts"} | entry
        for name, entry in entries.items()
    }


REGISTRY = read_registry()


def code(*patterns):
    """Sources that a rule's result depends on, so that an edit reruns that rule and no other.

    Args:
        patterns: globs below scwm/; what these files import of the package comes with them.
    """
    return [str(ROOT / "scwm" / file) for file in sources(patterns)]


def overrides(dataset):
    """What the config changes of config/base.yaml for one data set."""
    return merge(config["settings"], config["dataset_settings"].get(dataset, {}))


@cache
def settings_of(dataset, method):
    """The resolved config of a run, without its name."""
    resolved = resolve_config(method, dataset, 0, overrides(dataset))
    return {key: value for key, value in resolved.items() if key not in ("method", "description")}


def run_code(*patterns):
    """Input function: `code` of a step of one run, with the modules that its config names. An edit
    of another strategy, backbone or correction, or a new one, leaves the run as it is."""

    def files(wildcards):
        return code(*patterns, *named_modules(settings_of(wildcards.dataset, wildcards.method)))

    return files


def model_settings(dataset, method):
    """The model section of a run's resolved config."""
    return settings_of(dataset, method)["model"]


def store_file(name):
    """Input function: one file of the store that a run reads."""

    def path(wildcards):
        height, width = model_settings(wildcards.dataset, wildcards.method)["image_size"]
        return f"data/stores/{wildcards.dataset}/{height}x{width}/{name}"

    return path


def weights_file(wildcards):
    """Input function: the backbone's weights; none where the run starts from random ones."""
    model = model_settings(wildcards.dataset, wildcards.method)
    backbone, source = model["backbone"], model["weights"]
    if source == "none":
        return []
    return source if source.endswith((".pt", ".pth")) else f"data/weights/{backbone}-{source}.pt"


def option(flag, values):
    """A command-line option as words to be quoted one by one; nothing without a value."""
    values = [values] if isinstance(values, str) else list(values or [])
    return [flag, *values] if values else []


def data_source(dataset):
    """The archive or folder that the config names for a data set or for the one it is part of."""
    sources = config["sources"]
    return sources.get(dataset) or sources.get(REGISTRY[dataset].get("base"))


def is_rendered(dataset):
    """Whether the suite makes the data set itself."""
    return "preset" in REGISTRY[dataset].get("source", {})


def loader_code(dataset):
    """Sources that read a data set's layout and pick its images."""
    return code(LAYOUTS.file(REGISTRY[dataset]["layout"]))


def dataset_code(dataset):
    """Sources that decide what lies in data/raw/<dataset>."""
    if is_rendered(dataset):
        return code("data/mannequins/**/*")
    return sorted({*code("data/download.py", "data/manifest.py"), *loader_code(dataset)})


def all_methods():
    """The methods of the benchmark and the variants of its sweep."""
    sweep = config["sweep"].items()
    variants = [f"{REFERENCE}@{key}={value}" for key, values in sweep for value in values]
    return [*config["methods"], *variants]


def run_files(methods, *names):
    """These files of the runs of some methods, of every data set and seed."""
    return expand(
        f"{RUN}/{{name}}",
        dataset=config["datasets"],
        method=methods,
        seed=config["seeds"],
        name=names,
    )


def other_files(name):
    """What a table or plot reads beside metrics, history and provenance of its runs.

    For the claims that is, beside their list, the studies of the models whose own features they
    are about. A claim whose methods the config does not list asks for nothing: the table says "not
    run".
    """
    methods = config["methods"]
    if name == "published":
        return [str(ROOT / "config/published_results.csv")]
    if name in ("masks", "ranks"):
        return run_files(methods, "visuals.npz")
    if name == "tsne":
        return run_files(methods, "features.npz")
    if name == "weights":
        return run_files([REFERENCE] if REFERENCE in methods else [], "study.json")
    if name != "claims":
        return []
    listed = sorted((ROOT / "config/claims").glob("*.yaml"))
    files = list(map(str, listed))
    for claim in map(read_yaml, listed):
        if claim["metric"].startswith("study:") and claim["method"] in config["methods"]:
            files += expand(
                f"{RUN}/study.json",
                dataset=[d for d in config["datasets"] if d in claim.get("datasets", [d])],
                method=claim["method"],
                seed=config["seeds"],
            )
    return sorted(set(files))


def reported_outputs(config):
    """Every table and plot of the benchmark, and its report."""
    results = config["results"]
    return [
        f"{results}/report.html",
        *expand(f"{results}/tables/{{name}}.{{ext}}", name=TABLES, ext=TABLE_FORMATS),
        *expand(f"{results}/metrics/{{name}}.json", name=TABLES),
        *expand(f"{results}/plots/{{name}}.{{ext}}", name=PLOTS, ext=PLOT_FORMATS),
    ]


def shell_prefix():
    """What precedes every command: strict bash, this checkout's package, polite threads.

    Snakemake clears PYTHONPATH for conda jobs, hence the assignment in the command itself.
    Without conda, `python` is the one that runs Snakemake, activated or not.
    """
    exports = {
        "PYTHONPATH": shlex.quote(os.path.abspath(ROOT)) + "${{PYTHONPATH:+:$PYTHONPATH}}",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONUNBUFFERED": "1",
    }
    if config["gpu"]:
        exports["SCWM_DEVICE"] = "cuda"  # an error where there is none, not days on a CPU
    if DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method:
        exports["PATH"] = shlex.quote(str(Path(sys.executable).parent)) + ":$PATH"
    words = " ".join(f"{name}={value}" for name, value in exports.items())
    return f"set -euo pipefail; export {words}; "


def rule_env():
    """The conda environment of every rule, relative to the rule's file."""
    return "../envs/scwm.yaml" if config["gpu"] else "../envs/scwm-cpu.yaml"

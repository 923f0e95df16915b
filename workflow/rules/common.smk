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
# These need nothing but PyYAML and pydantic.
from scwm.cli.planned_runs import (
    planned_configs,
    run_threads,
    source_of,
    store_folder,
    weights_path,
)
from scwm.core.config import (
    is_whole,
    named_modules,
    overrides_of,
    plain,
    read_benchmark,
    resolve_config,
)
from scwm.core.errors import ScwmError
from scwm.core.freeze import read_freeze
from scwm.core.lock import Lock
from scwm.core.plugins import BACKBONES, FOREGROUND_CORRECTIONS, LAYOUTS, NAME, SPACE_CORRECTIONS
from scwm.core.settings import METHOD
from scwm.core.sources import sources
from scwm.core.yaml_files import read_yaml
from scwm.data.entries import lookup, store_sources
from scwm.data.places import resolve_source
from scwm.reporting.catalogue import (
    CAPTIONS,
    PLOTS,
    REFERENCE,
    TABLES,
    Request,
    TITLES,
    asked,
    with_variants,
)
from scwm.reporting.inputs import READ_OF_CONFIG, input_files, run_files

# Relative, so that a moved checkout is not out of date; "." but for --directory.
ROOT = Path(os.path.relpath(Path(workflow.basedir).parent))
if "{" in str(ROOT):
    raise WorkflowError(
        f"Snakemake takes braces in a path for wildcards: {ROOT}. "
        "Call it in that folder, without --directory and --snakefile."
    )


def code(*patterns):
    """Sources that a rule's result depends on, so that an edit reruns that rule and no other.

    Args:
        patterns: globs below scwm/; what these files import of the package comes with them.
    """
    return [str(ROOT / "scwm" / file) for file in sources(patterns)]


@cache
def settings_of(dataset, method, seed=0):
    """The resolved config of a run."""
    return resolve_config(method, dataset, seed, overrides_of(config, dataset))


def expanded(path):
    """A file that the config names, with the home folder for `~`; nothing without one."""
    return os.path.expanduser(path) if path else []


def option(flag, values):
    """A command-line option as words to be quoted one by one; nothing without a value."""
    values = [values] if isinstance(values, str) else list(values or [])
    return [flag, *values] if values else []


def all_methods():
    """The methods of the benchmark and the variants of its sweep."""
    return with_variants(config["methods"], config["sweep"])


@cache
def freeze_state():
    """What tables say of the freeze. As a parameter of their rules it makes them again after a new
    freeze and after a change of a frozen file; neither trains a run again.
    """
    found = read_freeze()
    return json.dumps([found.hash, found.commit, found.broken()]) if found else ""


def run_code(*patterns):
    """Input function: `code` of a step of one run, with the modules that its config names. An edit
    of another strategy, backbone or correction, or a new one, leaves the run as it is."""

    def files(wildcards):
        return code(*patterns, *named_modules(settings_of(wildcards.dataset, wildcards.method)))

    return files


def store_file(name, dataset="dataset"):
    """Input function: one file of the store that a run reads; `dataset` is the wildcard of its data
    set."""

    def path(wildcards):
        own = settings_of(wildcards.dataset, wildcards.method)
        return str(store_folder(wildcards[dataset], own) / name)

    return path


def weights_file(wildcards):
    """Input function: the backbone's weights; none where the run starts from random ones."""
    path = weights_path(settings_of(wildcards.dataset, wildcards.method))
    return str(path) if path else []


def dataset_code(dataset):
    """Sources that decide what lies in data/raw/<dataset>."""
    entry = lookup(dataset)
    if entry.source.preset:
        return code("data/mannequins/**/*")
    files = [f"data/{name}.py" for name in ("archives", "download", "manifest")]
    return code(*files, LAYOUTS.file(entry.layout))


def benchmark_runs():
    """The runs of the benchmark, as tables and figures request them."""
    names = config["datasets"], all_methods(), config["seeds"]
    return Request(f"{config['results']}/runs", *names, config["transfer"], config["claims"])


def run_options():
    """The same as options of `scwm table`, `plot` and `page`."""
    own = benchmark_runs()
    names = {name: getattr(own, name) for name in ("datasets", "methods", "seeds")}
    names |= {"transfer": own.transfer, "claims": own.claims, "runs": own.root}
    return [str(word) for name, value in names.items() for word in option(f"--{name}", value)]


def of_benchmark(names):
    """Those of these tables or plots that the benchmark makes."""
    return asked(names, config["datasets"], config["transfer"])


def config_files(name):
    """Files of config/ that a table or plot reads."""
    files = ROOT.glob(f"config/{READ_OF_CONFIG[name]}") if name in READ_OF_CONFIG else []
    return sorted(map(str, files))

"""The runs of a benchmark, for `scwm benchmark` and the Snakemake workflow.

Both take a run's settings, its files and its threads from here.
"""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from scwm.core.claim_files import check_claims
from scwm.core.config import merge, overrides_of, plain, resolve_config, split_variant
from scwm.core.errors import ScwmError
from scwm.core.settings import Benchmark, Config
from scwm.data.entries import lookup
from scwm.reporting.catalogue import with_variants


def planned_configs(
    benchmark: Benchmark, assigned: Mapping[str, Any] | None = None
) -> list[Config]:
    """Resolve the config of every run, in the order of data sets, seeds and methods.

    Args:
        assigned: changes of the settings of every run.

    Raises:
        ScwmError: a data set, claim, method or setting is unknown, a value is out of its range, no
            data set decides a claim, or a variant changes nothing.
    """
    about = benchmark.transfer, benchmark.sources, benchmark.keypoints, benchmark.dataset_settings
    for name in chain(benchmark.datasets, *about):
        lookup(name)
    check_claims(benchmark.claims or (), benchmark.datasets, "claims")
    methods, configs = with_variants(benchmark.methods, benchmark.sweep), []
    for dataset in benchmark.datasets:
        overrides = merge(overrides_of(plain(benchmark), dataset), assigned or {})
        resolved = [resolve_config(method, dataset, 0, overrides) for method in methods]
        for config in resolved:
            _check_variant(config, overrides)
        for seed in benchmark.seeds:
            configs += [config.model_copy(update={"seed": seed}) for config in resolved]
    return configs


def _check_variant(config: Config, overrides: Mapping[str, Any]) -> None:
    """Refuse a variant whose settings are those of its method."""
    base = split_variant(config.method)[0]
    if base == config.method:
        return
    own = resolve_config(base, config.dataset, config.seed, overrides)
    if config.model_copy(update={"method": base, "description": own.description}) == own:
        raise ScwmError(
            f"{config.method} is {base} itself on {config.dataset}.",
            "methods, sweep",
            "leave the value out",
        )
    setting, before = split_variant(config.method)[1], unread_settings(own)
    for reason, idle in unread_settings(config).items():
        if reason in before and setting.startswith(idle):
            raise ScwmError(
                f"{config.method} is {base} itself on {config.dataset}, because {reason}.",
                "methods, sweep",
                "leave it out",
            )


def unread_settings(config: Config) -> dict[str, tuple[str, ...]]:
    """List the settings that a run's training does not read: a reason, and how their keys begin."""
    training = ("pseudo_labels.", "parsing.", "memory.", "refinement.", "support.", "losses.")
    parsing = ("parsing.", "losses.parsing", "losses.diversity")
    parts = ("model.part_", "memory.part", "losses.part", "losses.separation")
    memory = ("memory.momentum", "memory.temperature", "memory.global_")  # parts start by theirs
    clustering = ("feature", "k1", "k2", "clustering", "eps", "min_samples")
    found = {
        "it is not trained": (*training, "training.", "augment.") * (config.kind != "trained"),
        "it has no parts": (*parsing, *parts) * (not config.model.parts),
        "its parts are not parsed": parsing * (config.model.part_source != "parsed"),
        "its classifiers replace the memories": memory * bool(config.refinement.neighbours),
        "it has no refinement": ("refinement.",) * (not config.refinement.neighbours),
        "it has no support samples": ("support.",) * (not config.support.degree),
        "its pseudo identities are the true ones": tuple(
            f"pseudo_labels.{key}" for key in clustering * (config.pseudo_labels.source == "truth")
        ),
    }
    return {reason: idle for reason, idle in found.items() if idle}


def run_threads(benchmark: Mapping[str, Any]) -> int:
    """Return the number of CPU threads of one process of a run, which decides its bytes."""
    return benchmark["threads_per_run"] or (8 if benchmark["gpu"] else 1)


def source_of(dataset: str, sources: Mapping[str, str | None]) -> str | None:
    """Return the archive or folder given for a data set or for the one that it is part of."""
    return sources.get(dataset) or sources.get(lookup(dataset).base or "")


def store_folder(dataset: str, config: Config) -> Path:
    """Return the folder of a data set's decoded images at the size of a run's."""
    height, width = config.model.image_size
    return Path("data/stores", dataset, f"{height}x{width}")


def weights_path(config: Config) -> Path | None:
    """Return the file of a run's pretrained weights, which may have to be fetched; None: none."""
    model = config.model
    if model.weights == "none":
        return None
    return Path(model.weights_file or f"data/weights/{model.backbone}-{model.weights}.pt")

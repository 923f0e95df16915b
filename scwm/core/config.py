"""Merge and check the config of a run, from defaults, benchmark, method and assignments."""

import hashlib
import json
import re
from collections.abc import Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from scwm.core.checks import checked, lacking
from scwm.core.errors import ScwmError, suggest
from scwm.core.files import whole_file
from scwm.core.plugins import BACKBONES, NAME, Kind
from scwm.core.settings import Benchmark, Config, Section
from scwm.core.yaml_files import CONFIG_DIR, names_in, parse_yaml, read_yaml

VARIANT = re.compile(rf"({NAME})@({NAME}\.{NAME})=([A-Za-z0-9_.+-]+)")
WHOLE = ("datasets", "methods", "seeds")  # what a benchmark's file that stands by itself names
TYPED = (
    "seeds",
    "gpu",
    "settings",
    "dataset_settings",
)  # the others are texts, or Snakemake reads them


def method_names() -> list[str]:
    """List every method and control that has a file in config/methods."""
    return names_in(CONFIG_DIR / "methods")


def split_variant(method: str) -> tuple[str, str, str]:
    """Split the name of a variant, as ``scwm@model.parts=4``, into method, setting and value.

    Setting and value of a plain method are empty. The name is that of a folder, in which ``+``
    stands for the slash of ``timm/NAME``.
    """
    found = VARIANT.fullmatch(method)
    if not found:
        return method, "", ""
    value = found[3].replace("+", "/") if found[3][0].isalpha() else found[3]
    return found[1], found[2], value


def resolve_config(
    method: str, dataset: str, seed: int, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Merge defaults, overrides and method, in this order: a method's own values always win.

    Args:
        method: a name of `method_names`, or a variant of it (see `split_variant`).
        overrides: nested values of an experiment, as in ``settings`` of config/config.yaml.

    Raises:
        ScwmError: unknown method, unknown key, or a value out of its range.
    """
    plain_name, key, value = split_variant(method)
    if plain_name not in method_names():
        raise ScwmError(
            f"Unknown method '{plain_name}'.{suggest(plain_name, method_names())}",
            CONFIG_DIR / "methods",
            "choose one of: " + ", ".join(method_names()),
        )
    if not isinstance(overrides or {}, Mapping):
        raise ScwmError(
            f"Expected a mapping of keys to values, not {overrides!r}.",
            "overrides",
            'give sections and their values: {"training": {"epochs": 5}}',
        )
    own = read_yaml(CONFIG_DIR / "methods" / f"{plain_name}.yaml")
    if key.partition(".")[0] in ("dataset", "description", "method", "seed"):
        raise ScwmError(f"{method} changes no setting.", key, "name a setting of docs/config.md")
    if key:
        changes = f"{key}={value}"
        own = merge(
            own, {**parse_assignments([changes]), "description": f"{plain_name}, {changes}"}
        )
    names = {"dataset": dataset, "method": method, "seed": seed}
    merged = merge(overrides or {}, {**own, **names})
    return complete(merged, f"{method} on {dataset}, seed {seed}")


def load_config(path: Path) -> Config:
    """Read and check a resolved config file."""
    return validate(read_yaml(path), path)


def validate(values: Mapping[str, Any], where: object = None) -> Config:
    """Check the values of all settings of a run and return them as its config.

    Raises:
        ScwmError: naming the first unknown, missing or out-of-range value.
    """
    config = complete(values, where)
    given = {key for key, _ in flatten(values)}
    for key, _ in flatten(plain(config)):
        if key not in given:
            raise lacking(key, where, "add it, or write the configuration again with `scwm config`")
    return config


def changed(config: Config, changes: Mapping[str, Any], where: object = None) -> Config:
    """Return a copy of `config` with some values replaced; errors as of `validate`."""
    return complete(merge(plain(config), changes), where)


def complete(values: Mapping[str, Any], where: object = None) -> Config:
    """Check all values, and those that exclude each other; a missing setting has its default.

    A stored model may lack settings that were added since. The default of an added setting changes
    nothing, so it is what the model was made with.

    Raises:
        ScwmError: naming the first unknown or out-of-range value.
    """
    config = checked(Config, values, where)
    if config.model.batch_norm == "frozen" and BACKBONES.member(config.model.backbone):
        raise ScwmError(
            f"model.batch_norm is frozen, which {config.model.backbone} cannot be.",
            where,
            "give model.batch_norm: batch",
        )
    eps, gap = config.pseudo_labels.eps, config.pseudo_labels.eps_gap
    if not 0 < eps - gap <= eps + gap < 1:
        raise ScwmError(
            f"pseudo_labels.eps is {eps} ± {gap}, which leads out of 0 to 1.",
            where,
            "give a smaller pseudo_labels.eps_gap, or another pseudo_labels.eps",
        )
    if config.refinement.neighbours and not config.model.parts:
        raise ScwmError(
            "refinement.neighbours is above 0, but no parts refine the labels.",
            where,
            "give model.parts above 0, or refinement.neighbours: 0",
        )
    if config.refinement.neighbours and config.memory.global_entries == "images":
        raise ScwmError(
            "refinement.neighbours is above 0, so the memory of images would never move.",
            where,
            "give memory.global_entries: clusters, or refinement.neighbours: 0",
        )
    if config.support.degree and (
        config.memory.global_entries == "images" or config.refinement.neighbours
    ):
        raise ScwmError(
            "support.degree is above 0, but the global memory has no prototypes that move.",
            where,
            "give memory.global_entries: clusters and refinement.neighbours: 0, or "
            "support.degree: 0",
        )
    if config.refinement.cameras and not config.refinement.neighbours:
        raise ScwmError(
            "refinement.cameras is above 0, but no refinement computes its loss.",
            where,
            "give refinement.neighbours above 0, or refinement.cameras: 0",
        )
    batch = config.training.identities * config.training.instances
    group = config.training.virtual_batch or batch
    if 1 in (group, batch % group):
        raise ScwmError(
            f"training.virtual_batch is {group}: one image of the batch of {batch} stands alone.",
            where,
            "batch normalisation needs two; give a divisor of the batch above 1, or 0",
        )
    return config


def uses_cameras(values: Mapping[str, Any]) -> bool:
    """Whether a training reads camera labels, by its config, which may lack later settings."""
    sampler = values.get("training", {}).get("sampler")
    weight = values.get("refinement", {}).get("cameras", 0)
    return bool(sampler == "identities_and_cameras" or weight > 0)


def read_benchmark(values: Mapping[str, Any], where: object) -> Benchmark:
    """Check the content of a benchmark's config file, or Snakemake's config.

    Values of Snakemake's command line may be text. They become numbers, switches and null here.

    Raises:
        ScwmError: naming the first unknown, missing or out-of-range value.
    """
    given = {key: None if value == "null" else value for key, value in values.items()}
    given |= {key: _typed(given[key]) for key in TYPED if key in given}
    return checked(Benchmark, given, where)


def load_benchmark(path: Path) -> Benchmark:
    """Read and check a benchmark's config file, with the rules of ``snakemake --configfile``."""
    values = read_yaml(path)
    if not is_whole(values):
        values = merge(read_yaml(CONFIG_DIR / "config.yaml"), values)
    return read_benchmark(values, path)


def overrides_of(benchmark: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """Merge the settings that a benchmark (see `plain`) has for all data sets and for one."""
    return merge(benchmark["settings"], benchmark["dataset_settings"].get(dataset, {}))


def is_whole(keys: Container[str]) -> bool:
    """Whether a benchmark's config names data sets, methods and seeds.

    A config that does not name all three changes config/config.yaml.
    """
    return all(key in keys for key in WHOLE)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over`, section by section."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(old, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """Read ``["training.epochs=5"]`` as ``{"training": {"epochs": 5}}``; values are YAML.

    Raises:
        ScwmError: a text that is no assignment.
    """
    result: dict[str, Any] = {}
    for text in assignments:
        key, sign, value = text.partition("=")
        if not sign:
            raise ScwmError(
                f"'{text}' is not of the form key.path=value.", "--set", "as in training.epochs=5"
            )
        nested = parse_yaml(value, f"--set {text}")
        for part in reversed(key.split(".")):
            nested = {part: nested}
        result = merge(result, nested)
    return result


def _typed(value: Any) -> Any:
    """Replace text by the number or switch that it writes, in nested values."""
    if isinstance(value, Mapping):
        return {key: _typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    if isinstance(value, str):
        with suppress(ScwmError):
            found = parse_yaml(value, None)
            return found if isinstance(found, int | float) else value
    return value


def plain(settings: Section) -> dict[str, Any]:
    """Return settings as YAML and JSON hold them: mappings, lists, text, numbers and booleans."""
    return settings.model_dump()


def config_hash(config: Config | Mapping[str, Any]) -> str:
    """Return the first 16 hex digits of the SHA-256 of the config's canonical JSON."""
    values = plain(config) if isinstance(config, Config) else config
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def write_yaml(config: Config, path: Path) -> None:
    """Write `config` so that equal configs give equal bytes."""
    with whole_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(plain(config), sort_keys=True), encoding="utf-8")


def named_modules(config: Section) -> list[str]:
    """List the files, below scwm/, of the modules that a config names.

    Of the modules that are found by name, its run uses only these.
    """
    found: set[str] = set()
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Section):
            found.update(named_modules(value))
        found.update(
            kind.file(value) for kind in field.metadata if isinstance(kind, Kind) and value
        )
    return sorted(found)


def flatten(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """List the values of a nested configuration with their dotted keys, in its order."""
    pairs: list[tuple[str, Any]] = []
    for key, value in config.items():
        path = f"{prefix}{key}"
        inner = isinstance(value, Mapping) and value
        pairs += flatten(value, path + ".") if inner else [(path, value)]
    return pairs

"""The resolved configuration of one run: base, method and overrides merged, checked, hashed."""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from scwm.core import plugins as named
from scwm.core.errors import ScwmError, suggest
from scwm.core.files import whole_file

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT, _INSTALLED = _PACKAGE.parent / "config", _PACKAGE / "_config"
CONFIG_DIR = _CHECKOUT if (_CHECKOUT / "base.yaml").is_file() else _INSTALLED
Config = dict[str, Any]
NUMBER = (int, float)
FEATURES = ("global", "parts", "both")
NAME = re.compile(r"[a-z0-9_]+")  # of a data set or method: it becomes a folder's name
VARIANT = re.compile(r"([a-z0-9_]+)@([a-z0-9_]+\.[a-z0-9_]+)=([A-Za-z0-9_.+-]+)")

Range = tuple[type | tuple[type, ...], float, float]

# key path -> allowed values: a tuple of choices, a kind of modules, or (types, lowest, highest).
RULES: dict[str, tuple[str, ...] | Range | type | named.Kind] = {
    "dataset": str,
    "method": str,
    "description": str,
    "seed": (int, 0, 2**31 - 1),
    "kind": ("trained", "untrained", "random_features", "colour_histogram"),
    "model.backbone": named.BACKBONES,
    "model.weights": str,
    "model.batch_norm": ("batch", "frozen"),
    "model.pooling": ("gem", "average"),
    "model.image_size": list,
    "model.parts": (int, 0, 32),
    "model.part_source": ("parsed", "stripes"),
    "model.part_channels": (int, 1, 4096),
    "pseudo_labels.source": ("clusters", "truth"),
    "pseudo_labels.feature": FEATURES,
    "pseudo_labels.k1": (int, 2, 1000),
    "pseudo_labels.k2": (int, 1, 1000),
    "pseudo_labels.eps": (NUMBER, 0.001, 0.999),
    "pseudo_labels.min_samples": (int, 1, 1000),
    "parsing.foreground_correction": named.FOREGROUND_CORRECTIONS,
    "parsing.space_correction": named.SPACE_CORRECTIONS,
    "parsing.every": (int, 0, 10**6),
    "memory.momentum": (NUMBER, 0, 1),
    "memory.temperature": (NUMBER, 1e-4, 100),
    "memory.global_strategy": named.STRATEGIES,
    "memory.part_strategy": named.STRATEGIES,
    "memory.global_tau": (NUMBER, 1e-4, 1e6),
    "memory.part_tau": (NUMBER, 1e-4, 1e6),
    "losses.part": (NUMBER, 0, 1e6),
    "losses.parsing": (NUMBER, 0, 1e6),
    "losses.diversity": (NUMBER, 0, 1e6),
    "losses.separation": (NUMBER, 0, 1e6),
    "losses.separation_margin": (NUMBER, -1, 1),
    "training.epochs": (int, 1, 10**6),
    "training.iterations": (int, 1, 10**9),
    "training.identities": (int, 2, 10**5),
    "training.instances": (int, 1, 10**5),
    "training.sampler": ("identities", "identities_and_cameras"),
    "training.learning_rate": (NUMBER, 0, 10),
    "training.weight_decay": (NUMBER, 0, 10),
    "training.decay_every": (int, 0, 10**6),
    "training.decay": (NUMBER, 0, 1),
    "training.average": (NUMBER, 0, 1),
    "training.virtual_batch": (int, 0, 10**6),
    "training.precision": ("auto", "float32", "tf32", "bfloat16"),
    "training.deterministic": bool,
    "augment.flip": (NUMBER, 0, 1),
    "augment.pad": (int, 0, 10**4),
    "augment.erase": (NUMBER, 0, 1),
    "evaluation.feature": FEATURES,
    "evaluation.batch": (int, 1, 10**6),
    "evaluation.precision": ("float32", "tf32", "bfloat16"),
}


def method_names() -> list[str]:
    """Names of every method and control that has a file in config/methods."""
    return sorted(path.stem for path in (CONFIG_DIR / "methods").glob("*.yaml"))


def split_variant(method: str) -> tuple[str, str, str]:
    """A variant's method, setting and value: ``scwm@model.parts=4`` is `scwm` with one setting
    changed. Setting and value of a plain method are empty."""
    found = VARIANT.fullmatch(method)
    return (found[1], found[2], found[3]) if found else (method, "", "")


def resolve_config(
    method: str, dataset: str, seed: int, overrides: Mapping[str, Any] | None = None
) -> Config:
    """Merge base < overrides < method, so that a method's own difference always holds.

    Args:
        method: a name of `method_names`, or a variant of it (see `split_variant`).
        overrides: nested values of an experiment, as in ``settings`` of config/config.yaml.

    Raises:
        ScwmError: unknown method, unknown key, or a value out of its range.
    """
    plain, key, value = split_variant(method)
    if plain not in method_names():
        raise ScwmError(
            f"Unknown method '{plain}'.{suggest(plain, method_names())}",
            CONFIG_DIR / "methods",
            "choose one of: " + ", ".join(method_names()),
        )
    if not isinstance(overrides or {}, Mapping):
        raise ScwmError(
            f"Expected a mapping of keys to values, not {overrides!r}.",
            "overrides",
            'give sections and their values: {"training": {"epochs": 5}}',
        )
    base = read_yaml(CONFIG_DIR / "base.yaml")
    own = read_yaml(CONFIG_DIR / "methods" / f"{plain}.yaml")
    if key:
        changed = f"{key}={value}"
        own = merge(own, {**parse_assignments([changed]), "description": f"{plain}, {changed}"})
    names = {"dataset": dataset, "method": method, "seed": seed}
    config = merge(merge(base, overrides or {}), {**own, **names})
    validate(config, f"{method} on {dataset}, seed {seed}")
    return config


def load_config(path: Path) -> Config:
    """Read and check a resolved config file."""
    config = read_yaml(path)
    validate(config, path)
    return config


def read_yaml(path: Path) -> Config:
    """Read a YAML mapping; a missing or broken file is a ScwmError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScwmError(
            f"Cannot read the file: {error.strerror}.", path, "check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise ScwmError(f"Not a text in UTF-8: {error}", path, "give a YAML file") from error
    content = parse_yaml(text, path)
    if not isinstance(content, dict):
        raise ScwmError("Expected a mapping of keys to values.", path, "write lines `key: value`")
    return content


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses a key that stands twice: YAML would silently keep the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in seen:
            problem = f"the key '{key.value}' stands twice"
            raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        seen.add(str(key.value))
    loader.flatten_mapping(node)
    mapping: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return mapping


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse_yaml(text: str, where: object) -> Any:
    """The value of a YAML text; whatever is wrong with it is a ScwmError."""
    try:
        return yaml.load(text, _Loader)
    except Exception as error:  # PyYAML lets those of its converters through, as of a 13th month
        remedy = "correct it, or put the value in quotes"
        raise ScwmError(f"Not valid YAML: {error}", where, remedy) from error


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Config:
    """`base` with the values of `over`, section by section."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(old, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def parse_assignments(assignments: list[str]) -> Config:
    """``["training.epochs=5"]`` -> ``{"training": {"epochs": 5}}``; values are read as YAML.

    Raises:
        ScwmError: a text that is no assignment.
    """
    result: Config = {}
    for text in assignments:
        key, sign, value = text.partition("=")
        if not sign:
            raise ScwmError(
                f"'{text}' is not of the form key.path=value.", "--set", "as in training.epochs=5"
            )
        nested = parse_yaml(value, f"--set {text}")
        if isinstance(nested, str):  # YAML takes 1e-4 for text, as its mantissa has no point
            with suppress(ValueError):
                nested = float(nested)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        result = merge(result, nested)
    return result


def config_hash(config: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of the config's canonical JSON."""
    text = json.dumps(config, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_yaml(config: Mapping[str, Any], path: Path) -> None:
    """Write `config` so that equal configs give equal bytes."""
    with whole_file(path) as beside:
        beside.write_text(yaml.safe_dump(dict(config), sort_keys=True))


def validate(config: Mapping[str, Any], where: object = None) -> None:
    """Raise ScwmError at the first unknown, missing or out-of-range value of `config`."""
    values = dict(flatten(config))
    for key in values:
        if key not in RULES:
            hint = suggest(key, RULES)
            raise ScwmError(
                f"Unknown key '{key}' in the run's configuration.{hint}",
                where,
                f"remove or correct it; every key stands in {CONFIG_DIR / 'base.yaml'}",
            )
    for key, rule in RULES.items():
        if key not in values:
            raise ScwmError(
                f"The run's configuration lacks '{key}'.",
                where,
                "add it, or write the configuration again with `scwm config`",
            )
        _check(key, values[key], rule, where)
    plain = {"dataset": values["dataset"], "method": split_variant(values["method"])[0]}
    for key, name in plain.items():
        if not NAME.fullmatch(name):
            raise ScwmError(f"{key} is {values[key]!r}.", where, "give a name of a-z, 0-9 and _")
    size = values["model.image_size"]
    if len(size) != 2 or not all(isinstance(s, int) and 32 <= s <= 4096 for s in size):
        raise ScwmError(
            f"model.image_size is {size}.", where, "give [height, width], each 32 to 4096 pixels"
        )
    batch = values["training.identities"] * values["training.instances"]
    group = values["training.virtual_batch"] or batch
    if 1 in (group, batch % group):
        raise ScwmError(
            f"training.virtual_batch is {group}: one image of the batch of {batch} stands alone.",
            where,
            "batch normalisation needs two; give a divisor of the batch above 1, or 0",
        )


def named_modules(config: Mapping[str, Any]) -> list[str]:
    """Files, below scwm/, of the modules that a valid config names: of those that are found by
    name, its run uses these and no other."""
    kinds = ((rule, value) for key, value in flatten(config) if (rule := RULES[key]))
    return sorted({r.file(value) for r, value in kinds if isinstance(r, named.Kind) and value})


def _check(key: str, value: Any, rule: Any, where: object) -> None:
    hint = ""
    if isinstance(rule, type):
        good, wanted = isinstance(value, rule), rule.__name__
    elif isinstance(rule, named.Kind):
        good, wanted = rule.allows(value), "one of " + ", ".join(rule.choices())
        hint = suggest(value, rule.choices())
    elif all(isinstance(choice, str) for choice in rule):
        good, wanted = value in rule, "one of " + ", ".join(rule)
    else:
        kind, low, high = rule
        number = isinstance(value, kind) and not isinstance(value, bool)
        good, wanted = number and low <= value <= high, f"a number from {low} to {high}"
    if not good:
        raise ScwmError(f"{key} is {value!r}.{hint}", where, f"give {wanted}")


def flatten(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Values of a nested configuration with their dotted keys, in its order.

    Raises:
        ScwmError: a key is not a text, or holds a point.
    """
    pairs: list[tuple[str, Any]] = []
    for key, value in config.items():
        path = f"{prefix}{key}"
        if not isinstance(key, str) or "." in key:  # it would hide the key that is nested so
            raise ScwmError(f"'{path}' is no single key.", path, "nest it: `training: {epochs: 5}`")
        inner = isinstance(value, Mapping) and value
        pairs += flatten(value, path + ".") if inner else [(path, value)]
    return pairs

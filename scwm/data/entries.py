"""The entries of `config/datasets.yaml`, read strictly: an unknown key is an error."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from scwm.errors import ScwmError

CONFIG_DIR = Path(__file__).resolve().parents[2] / "config"
COUNTS = ("train", "query", "gallery", "train_ids", "test_ids")
SUBSET = ("train_ids", "test_ids")


@dataclass(frozen=True)
class Source:
    """Where the files come from: one of `path`, `urls` and `preset`, or nothing.

    Attributes:
        path: a local archive, folder or CSV.
        urls: mirrors of one archive, whose sha256, md5 and size are checked where given.
        preset, seed, knobs: a benchmark that the suite renders itself.
    """

    path: str | None = None
    urls: tuple[str, ...] = ()
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None
    preset: str | None = None
    seed: int = 0
    knobs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One data set of the registry; `docs/data.md` describes every key."""

    name: str
    layout: str
    title: str
    base: str | None = None
    source: Source = field(default_factory=Source)
    env: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    manifest: str | None = None
    subset: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    homepage: str = ""
    ask: str = ""
    note: str = ""


def data_names() -> list[str]:
    """Names of the registered data sets."""
    return sorted(_registry())


def lookup(name: str) -> Entry:
    """The registry's entry; what it does not say itself comes from its base, save the counts.

    Raises:
        ScwmError: no such data set, or its entry is malformed.
    """
    registry = _registry()
    where = f"{_path()}: {name}"
    if name not in registry:
        close = difflib.get_close_matches(name, registry, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ScwmError(
            f"unknown data set {name!r}{hint}", _path(), f"known: {', '.join(sorted(registry))}"
        )
    values = registry[name]
    if base := values.get("base"):
        if base not in registry or "base" in registry[base]:
            raise ScwmError(f"base {base!r} is not an entry without a base", where)
        inherited = {key: value for key, value in registry[base].items() if key != "counts"}
        values = {**inherited, **values}
    source = _check(values.get("source", {}), Source, f"{where}.source")
    for key, allowed in (("counts", COUNTS), ("subset", SUBSET)):
        part = values.get(key, {})
        if not _whole_numbers(part, allowed) or (key == "subset" and len(part) == 1):
            raise ScwmError(
                f"{key} must give whole numbers", where, f"keys are {', '.join(allowed)}"
            )
    if isinstance(source.get("urls"), list):
        source = {**source, "urls": tuple(source["urls"])}
    checked = _check({"name": name, **values, "source": Source(**source)}, Entry, where)
    return Entry(**checked)


def _path() -> Path:
    return CONFIG_DIR / "datasets.yaml"


def _registry() -> dict[str, dict[str, Any]]:
    try:
        content = yaml.safe_load(_path().read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ScwmError(f"cannot read the registry: {error}", _path()) from error
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise ScwmError("the registry must map each name to its settings", _path())
    return content


def _whole_numbers(values: object, allowed: tuple[str, ...]) -> bool:
    return isinstance(values, dict) and all(
        key in allowed and type(value) is int and value > 0 for key, value in values.items()
    )


def _check(values: object, kind: type, where: str) -> dict[str, Any]:
    """The values of one section, if they are a mapping with known keys, none missing."""
    if not isinstance(values, dict):
        raise ScwmError("expected a mapping of keys to values", where)
    known = {one.name for one in fields(kind)}
    unknown = set(values) - known
    if unknown:
        key = min(unknown)
        close = difflib.get_close_matches(str(key), known, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ScwmError(f"unknown key {key!r}{hint}", where, f"known: {', '.join(sorted(known))}")
    if kind is Entry and (missing := {"layout", "title"} - set(values)):
        raise ScwmError(f"missing key {min(missing)!r}", where)
    return values

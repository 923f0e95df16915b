"""The data sets of `config/datasets/`, one per file; an unknown key is an error."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from scwm.core.errors import ScwmError, suggest
from scwm.core.freeze import frozen_seed
from scwm.core.plugins import LAYOUTS, NAME
from scwm.core.yaml_files import CONFIG_DIR, names_in, read_yaml

COUNTS = ("train", "query", "gallery", "train_ids", "test_ids")
SUBSET = ("train_ids", "test_ids")
KINDS: dict[str, type] = {  # types of the values; the others are texts
    "seed": int,
    **dict.fromkeys(("source", "knobs", "counts", "subset", "options"), dict),
    "urls": list,
}


@dataclass(frozen=True)
class Source:
    """The source of a data set's files: one of `path`, `urls` and `preset`, or none of them.

    Attributes:
        path: a local archive, folder or CSV.
        urls: mirrors of one archive, whose hash is `sha256` if that is given.
        preset, seed, knobs: a benchmark that the suite renders itself. In a file, the seed
            `frozen` is that of config/frozen.json.
    """

    path: str | None = None
    urls: tuple[str, ...] = ()
    sha256: str | None = None
    preset: str | None = None
    seed: int = 0
    knobs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One data set of the registry; `docs/data.md` describes every key.

    Attributes:
        terms: what a user accepts by `scwm data accept` before the suite downloads the data set.
    """

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
    ethics: str = ""
    homepage: str = ""
    ask: str = ""
    terms: str = ""
    note: str = ""


def data_names() -> list[str]:
    """List the names of the registered data sets.

    Raises:
        ScwmError: the installation has none.
    """
    return [name for name in names_in(_folder()) if re.fullmatch(NAME, name)]


def lookup(name: str) -> Entry:
    """Read a data set's entry; missing keys, except the counts, come from its base.

    Raises:
        ScwmError: no such data set, or its entry is malformed.
    """
    known = data_names()
    if name not in known:
        raise ScwmError(
            f"unknown data set {name!r}.{suggest(name, known)}",
            _folder(),
            f"known: {', '.join(known)}",
        )
    where = _folder() / f"{name}.yaml"
    values = read_yaml(where)
    if base := values.get("base"):
        inherited = read_yaml(_folder() / f"{base}.yaml") if base in known else {"base": base}
        if "base" in inherited:
            raise ScwmError(
                f"base {base!r} is not an entry without a base", where, "name such an entry"
            )
        values = {key: value for key, value in inherited.items() if key != "counts"} | values
    values = _check(values, Entry, where)
    source = dict(values.get("source", {}))
    if source.get("seed") == "frozen":
        source["seed"] = frozen_seed(where)
    source = _check(source, Source, f"{where}: source")
    if sum(key in source for key in ("path", "urls", "preset")) > 1:
        raise ScwmError("the source names several", where, "give one of path, urls and preset")
    for key, allowed in (("counts", COUNTS), ("subset", SUBSET)):
        part = values.get(key, {})
        if not _whole_numbers(part, allowed) or (key == "subset" and len(part) == 1):
            raise ScwmError(
                f"{key} must give whole numbers", where, f"keys are {', '.join(allowed)}"
            )
    if "urls" in source:
        source["urls"] = tuple(map(str, source["urls"]))
    return Entry(**{**values, "name": name, "source": Source(**source)})


def store_sources(name: str) -> list[str]:
    """List the sources that decide what a store of a data set holds (see `scwm.core.sources`)."""
    return ["data/store.py", "data/reading.py", LAYOUTS.file(lookup(name).layout)]


def is_development(name: str) -> bool:
    """Whether all splits of a registered data set come from its base's training images."""
    return name in data_names() and bool(lookup(name).options.get("development"))


def overlaps_training(trained: str, tested: str) -> bool:
    """Whether the test images of one data set are training images of another.

    They are if the first holds the development halves of the training images of the second.
    """
    if not {trained, tested} <= set(data_names()):
        return False
    first, second = lookup(trained), lookup(tested)
    same = (first.base or first.name) == (second.base or second.name)
    return same and not is_development(trained) and is_development(tested)


def _folder() -> Path:
    return CONFIG_DIR / "datasets"


def _whole_numbers(values: object, allowed: tuple[str, ...]) -> bool:
    return isinstance(values, dict) and all(
        key in allowed and type(value) is int and value > 0 for key, value in values.items()
    )


def _check(values: dict[str, Any], kind: type, where: object) -> dict[str, Any]:
    """Check the keys of one section and return its values without the empty ones."""
    known = {one.name for one in fields(kind)} - {"name"}
    unknown = set(values) - known
    if unknown:
        key = min(map(str, unknown))
        hint = suggest(key, known)
        raise ScwmError(f"unknown key {key!r}.{hint}", where, f"known: {', '.join(sorted(known))}")
    given = {key: value for key, value in values.items() if value is not None}
    if kind is Entry and (missing := {"layout", "title"} - set(given)):
        raise ScwmError(f"missing key {min(missing)!r}", where, "docs/data.md describes every key")
    for key, value in given.items():
        wanted = KINDS.get(key, str)
        if type(value) is not wanted:
            names = {int: "a whole number", dict: "a mapping", list: "a list", str: "a text"}
            raise ScwmError(f"{key} is {value!r}", where, f"give {names[wanted]}")
    return given

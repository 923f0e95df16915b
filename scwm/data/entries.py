"""The data sets of `config/datasets/`, one per file; an unknown key is an error."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from scwm.core.checks import checked
from scwm.core.errors import ScwmError, suggest
from scwm.core.freeze import frozen_seed
from scwm.core.plugins import LAYOUTS, NAME
from scwm.core.settings import Section
from scwm.core.yaml_files import CONFIG_DIR, names_in, read_yaml

Count = Literal["train", "query", "gallery", "train_ids", "test_ids"]
Whole = Annotated[int, Field(ge=1)]


class Source(Section):
    """The source of a data set's files: one of `path`, `urls` and `preset`, or none of them."""

    path: str | None = None
    """A local archive, folder or CSV."""
    urls: list[str] = Field(default_factory=list)
    """Mirrors of one archive, whose hash is `sha256` if that is given."""
    sha256: str | None = None
    preset: str | None = None
    """With `seed` and `knobs`: a benchmark that the suite renders itself."""
    seed: Annotated[int, Field(ge=0)] = 0
    """In a file, `frozen` is the seed of config/frozen.json."""
    knobs: dict[str, Any] = Field(default_factory=dict)


class Entry(Section):
    """One data set of the registry; `docs/data.md` describes every key."""

    name: str
    """That of the file, which does not hold it."""
    layout: str
    title: str
    base: str | None = None
    source: Source = Source()
    env: str | None = None
    counts: dict[Count, Whole] = Field(default_factory=dict)
    manifest: str | None = None
    subset: dict[Literal["train_ids", "test_ids"], Whole] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    licence: str = ""
    ethics: str = ""
    homepage: str = ""
    ask: str = ""
    terms: str = ""
    """What a user accepts by `scwm data accept` before the suite downloads the data set."""
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
        form = "" if re.fullmatch(NAME, name) else " A name is made of a-z, 0-9 and _."
        raise ScwmError(
            f"unknown data set {name!r}.{suggest(name, known)}{form}",
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
    if "name" in values:
        raise ScwmError("Unknown key 'name'.", where, "remove it: the file has the name")
    if isinstance(source := values.get("source"), dict) and source.get("seed") == "frozen":
        values = values | {"source": source | {"seed": frozen_seed(where)}}
    given = {key: value for key, value in values.items() if value is not None}
    entry = checked(Entry, given | {"name": name}, where, "docs/data.md")
    if sum(map(bool, (entry.source.path, entry.source.urls, entry.source.preset))) > 1:
        raise ScwmError("the source names several", where, "give one of path, urls and preset")
    if len(entry.subset) == 1:
        raise ScwmError(f"subset is {entry.subset}", where, "give train_ids and test_ids")
    return entry


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

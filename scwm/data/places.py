"""Where the files of a data set come from; reading this needs no numpy."""

import json
import os
import re
from pathlib import Path

from scwm.core.errors import ScwmError
from scwm.data.entries import Entry, Source, lookup
from scwm.data.files import SOURCE
from scwm.data.terms import terms_accepted

RAW = Path("data", "raw")
_URL = re.compile(r"[a-z][a-z\d+.-]+://", re.IGNORECASE)


def resolve_source(name: str, source: str | Path | None = None, raw: Path | None = None) -> Source:
    """Choose the source of a data set's files.

    The order is `source`, the entry's environment variable, `raw` (data/raw/<name>) if it holds
    files, and the registry.

    Args:
        name: the data set's name.
        source: a local archive, folder or CSV, or the URL of an archive.
        raw: the folder where the suite keeps the data set.

    Raises:
        ScwmError: no source is known, the path does not exist, or the data set would be downloaded
            and its terms are not accepted.
    """
    entry = lookup(name)
    given = source or (os.environ.get(entry.env) if entry.env else None) or None
    if given is None:
        raw = RAW / name if raw is None else raw
        if raw.is_dir() and any(raw.iterdir()):
            return Source(path=str(follow(raw)))
        if entry.source.urls and not terms_accepted(entry):
            raise ScwmError(
                f"{name} is downloaded only after its terms are accepted. {entry.terms}",
                entry.homepage or None,
                f"if you accept them, run `scwm data accept {name}` once; or {ways(entry)}",
            )
        if entry.source.urls or entry.source.preset:
            return entry.source
        given = entry.source.path
    if given is None:
        what = f"{name} is not downloaded automatically. {entry.ask}".strip()
        raise ScwmError(what, entry.homepage or None, ways(entry))
    found = given_source(given)
    if found.path and not os.path.exists(found.path):  # also for names that no disk could hold
        given_by = "--source, or `sources` of the benchmark's config"
        origin = given_by if source else entry.env or "config/datasets"
        raise ScwmError(f"the source of {name} does not exist", found.path, f"correct {origin}")
    return found


def ways(entry: Entry) -> str:
    """Describe how a user supplies the data set."""
    variable = f", set {entry.env}=PATH" if entry.env else ""
    return (
        "give the archive or folder with --source, or as `sources` in a benchmark's config"
        f"{variable}, or put it in {RAW / entry.name}"
    )


def given_source(given: str | Path) -> Source:
    """Return the source that a path or a URL names."""
    if _URL.match(str(given)):
        return Source(urls=[str(given)])
    return Source(path=str(follow(Path(os.path.expanduser(given)))))


def follow(path: Path) -> Path:
    """Return the folder or CSV that a folder of `get_dataset` points to, or the path itself.

    Raises:
        ScwmError: the pointer is damaged, or its target is gone.
    """
    pointer = path / SOURCE
    if not pointer.is_file():
        return path
    try:
        root = json.loads(pointer.read_text(encoding="utf-8"))["root"]
        there = root is None or Path(root).exists()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScwmError(f"damaged: {error}", pointer, "run `scwm data get` again") from error
    if not there:
        raise ScwmError("the data set has moved away", f"{pointer}: {root}", "run `scwm data get`")
    return path if root is None else Path(root)

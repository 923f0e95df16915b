"""Data sets on this machine: their places, their integrity, and their registry entries."""

from pathlib import Path
from typing import Any

from scwm.core.errors import ScwmError
from scwm.data.entries import lookup
from scwm.data.manifest import NAME as MANIFEST
from scwm.data.manifest import read_manifest
from scwm.data.places import follow, resolve_source
from scwm.data.registry import check_files

UNKNOWN = "–"


def whereabouts(name: str) -> str:
    """Describe the current source of a data set's files; "not here" if there is none."""
    try:
        source = resolve_source(name)
    except ScwmError:
        return "not here"
    if source.path:
        return source.path
    return "to be rendered" if source.preset else "to be downloaded"


def verify_dataset(name: str, root: Path) -> str:
    """Check the files of a data set in place: layout, counts, matches, hashes.

    Counts and hashes are compared with the registry's, and hashes with the manifest.csv of
    `scwm data get`, if they exist.

    Returns:
        The result, in words.

    Raises:
        ScwmError: something differs; the message names the first file that differs.
    """
    entry = lookup(name)
    found = check_files(entry, follow(root))
    hashes = ["the registry's"] if entry.manifest else []
    manifest = root / MANIFEST
    if manifest.is_file():
        listed, now = ({one.path: one for one in some} for some in (read_manifest(manifest), found))
        for path in sorted(listed.keys() | now.keys()):
            if listed.get(path) != now.get(path):
                kind = "missing" if path not in now else "new" if path not in listed else "changed"
                raise ScwmError(f"{name}: a file is {kind}: {path}", manifest, "get the data again")
        hashes.append(str(manifest))
    compared = f"hashes as in {' and '.join(hashes)}" if hashes else "no hashes to compare with"
    right = "layout and counts are" if entry.counts else "the layout is"
    return f"{len(found):,} files; {right} right; {compared}"


def data_card(name: str) -> dict[str, Any]:
    """Describe a data set: title, counts, licence, source, place and ethics."""
    entry = lookup(name)
    get = entry.ask or ("the suite renders it" if entry.source.preset else UNKNOWN)
    return {
        "name": name,
        "title": entry.title,
        "layout": entry.layout,
        "counts": dict(entry.counts),
        "protocol": entry.note or UNKNOWN,
        "licence": entry.licence or UNKNOWN,
        "homepage": entry.homepage or UNKNOWN,
        "how to get it": get,
        "variable": entry.env or UNKNOWN,
        "here": whereabouts(name),
        "terms": entry.terms or UNKNOWN,
        "ethics": entry.ethics or UNKNOWN,
    }

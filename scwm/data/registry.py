"""Data sets by name: their sources, loading, and preparation on disk.

A new data set is one file in `config/datasets/`; a new layout is one file in `scwm/data/layouts/`.
"""

import hashlib
import json
import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from scwm.core.errors import ScwmError
from scwm.core.files import cache_folder, next_to, read_json, write_json
from scwm.data.archives import extract, is_archive
from scwm.data.download import fetch
from scwm.data.entries import Entry, Source, lookup
from scwm.data.files import SOURCE, made_from, new_folder
from scwm.data.labels import check_queries, describe_labels
from scwm.data.manifest import (
    FileEntry,
    make_manifest,
    manifest_hash,
    read_manifest,
    write_manifest,
)
from scwm.data.places import given_source, resolve_source, ways
from scwm.data.reading import read_dataset, wrong_counts
from scwm.data.types import Dataset


def load_dataset(name: str, source: str | Path | None = None) -> Dataset:
    """Read a data set under the protocol of its registry entry.

    Archives, downloads and renderings that are not on disk are unpacked once into a cache
    ($SCWM_CACHE, $XDG_CACHE_HOME/scwm or ~/.cache/scwm).

    Args:
        name: a file of `config/datasets/`.
        source: a local archive, folder or CSV, or a URL; see `resolve_source` for the default.

    Returns:
        The data set; its `note` lists differences from the standard protocol or counts.

    Raises:
        ScwmError: the name is unknown, no source is known, or its files are malformed.
    """
    entry = lookup(name)
    found = resolve_source(name, source)
    if found.path and not is_archive(Path(found.path)):
        root = Path(found.path)
    else:
        root = _cached(entry, found)
    dataset = _subset(entry, _read(entry, root))
    notes = dataset.note, describe_labels(dataset), wrong_counts(entry.counts, dataset)
    return replace(dataset, note="; ".join(filter(None, notes)))


def get_dataset(name: str, source: str | Path | None, out: Path) -> Path:
    """Prepare a data set in `out`: render, download, unpack, or point to a local folder.

    The call verifies the files against the manifest hash and the counts of the registry and lists
    them in `out/manifest.csv`. A failed call leaves no `out` behind. Existing data in `out` are
    verified in place.

    Args:
        name: a file of `config/datasets/`.
        source: see `resolve_source`.
        out: the folder to make; the folder of an earlier call is replaced.

    Returns:
        `out/manifest.csv`.

    Raises:
        ScwmError: no source is known, it cannot be fetched or unpacked, or it differs from the
            registry's data set; a split is empty, or no query of a known identity has a match.
    """
    entry = lookup(name)
    if (there := made_from(out).get("name", name)) != name:
        raise ScwmError(f"The folder holds the data set {there}.", out, "give another folder")
    rendered = entry.source.preset is not None and source is None
    found = entry.source if rendered else resolve_source(name, source, raw=out)
    if found.path and not is_archive(Path(found.path)):
        root, target = (Path(os.path.realpath(path)) for path in (found.path, out))
        if target in (root, *root.parents):
            _check_manifest(out / "manifest.csv")
            return _verify(entry, root, out)
        with new_folder(out) as temporary:
            _write_source(entry, temporary, root, found)
            _verify(entry, root, temporary)
        return out / "manifest.csv"
    with new_folder(out) as temporary:
        _materialise(entry, found, temporary, out)
        _write_source(entry, temporary, None, found)
        try:
            _verify(entry, temporary, temporary)
        except ScwmError as error:  # the folder that it names is about to vanish
            origin = found.path or next(iter(found.urls), name)
            where = str(error.where).replace(str(temporary), origin)
            raise ScwmError(error.what, where, error.remedy) from error
    return out / "manifest.csv"


def _materialise(entry: Entry, source: Source, target: Path, out: Path) -> None:
    """Put the files of a preset, an archive or a download into the folder `target`."""
    if source.preset:
        from scwm.data.mannequins import render  # only this branch needs the renderer
        from scwm.data.mannequins.protocol import choose

        choose(source.preset, source.knobs)  # refuses what are other arguments of `render`
        made = next_to(out, ".rendered")  # kept while incomplete, to be resumed
        shutil.rmtree(made, ignore_errors=True)
        render(source.preset, made, seed=source.seed, **source.knobs)
        for path in sorted(made.iterdir()):
            path.rename(target / path.name)
        made.rmdir()
    elif source.path:
        extract(Path(source.path), target)
    else:
        downloads = target / ".download"
        name = source.urls[0].split("?")[0].rsplit("/", 1)[-1][-100:]
        archive = downloads / (name if Path(name).suffix else entry.name)
        advice = ("check the network", f"{entry.ask} {entry.homepage}".strip(), ways(entry))
        remedy = "; or: ".join(filter(None, advice))
        try:
            fetch(source.urls, archive, source.sha256, remedy=remedy)
            extract(archive, target)
        except ScwmError as error:  # the file that it names is about to vanish
            raise ScwmError(error.what, ", ".join(source.urls), error.remedy) from error
        shutil.rmtree(downloads)


def _cached(entry: Entry, source: Source) -> Path:
    """Return the source's folder in the cache, and fill it if it does not exist."""
    key = json.dumps(origin(source), sort_keys=True)
    if source.path:
        stat = Path(source.path).stat()
        key = f"{Path(source.path).resolve()} {stat.st_size} {stat.st_mtime_ns}"
    target = (
        cache_folder()
        / f"{entry.base or entry.name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    )
    if not target.is_dir():
        with new_folder(target) as temporary:
            _materialise(entry, source, temporary, target)
    return target


def origin(source: Source) -> dict[str, Any]:
    """Describe a source for JSON, and the renderer's code and data if it is rendered."""
    described = {key: value for key, value in source.model_dump().items() if value is not None}
    if source.preset:
        from scwm.data.mannequins import fingerprint
        from scwm.data.mannequins.protocol import choose

        choose(source.preset, source.knobs)
        described["renderer"] = fingerprint(source.preset, source.seed, **source.knobs)
    return described


def _write_source(entry: Entry, made: Path, root: Path | None, source: Source) -> None:
    """Record what a folder was made from and holds, by which it is known as the suite's own."""
    content = {"name": entry.name, "root": root and str(root), "source": origin(source)}
    write_json(content | {"holds": sorted(path.name for path in made.iterdir())}, made / SOURCE)


def is_current(name: str, out: Path, given: str | None = None) -> bool:
    """Say whether `get_dataset` has made `out` from the source that is `given`.

    Without a given one, any source will do, but a rendered data set has the registry's seed and
    comes from the present renderer.
    """
    if not (out / "manifest.csv").exists():
        return False
    with suppress(ValueError, ScwmError):  # damaged
        made, source = read_json(out / SOURCE), lookup(name).source
        if given and made:  # without a record, the folder itself was given
            source = given_source(given)
        elif given or made.get("root") or not source.preset:
            return True
        known = {key: x for key, x in made.get("source", {}).items() if x is not None}
        return bool(known == json.loads(json.dumps(origin(source))))
    return False


def _check_manifest(path: Path) -> None:
    """Check that a list of this name, which is about to be replaced, is a manifest."""
    if path.exists():
        try:
            read_manifest(path)
        except ScwmError as error:
            raise ScwmError(
                "The folder has a manifest.csv that the suite did not write.",
                path,
                "rename it, or give a folder outside with --out",
            ) from error


def _read(entry: Entry, root: Path) -> Dataset:
    wanted = entry.source
    made = made_from(root).get("source") or {}
    if made.get("preset") and wanted.preset:
        own, other = (
            json.dumps([one["preset"], one["seed"], one["knobs"]], sort_keys=True)
            for one in (wanted.model_dump(), made)
        )
        if own != other:
            raise ScwmError(
                f"These are other rendered people than {entry.name}: {other}, not {own}.",
                root,
                "give the folder that `scwm data get` made for this name",
            )
    return read_dataset(root, entry.name, entry.layout, entry.options, entry.note)


def _subset(entry: Entry, dataset: Dataset) -> Dataset:
    return dataset.first_identities(**entry.subset) if entry.subset else dataset


def _verify(entry: Entry, root: Path, out: Path) -> Path:
    """Check the data set at `root` against the registry and write `out/manifest.csv`."""
    return write_manifest(check_files(entry, root), out)


def check_files(entry: Entry, root: Path) -> list[FileEntry]:
    """Check layout, counts and, if the registry records it, hash of the data set at `root`.

    Returns:
        The files of the data set.

    Raises:
        ScwmError: something differs, or `check_queries` refuses its labels.
    """
    dataset = _read(entry, root)
    if wrong := wrong_counts(entry.counts, _subset(entry, dataset)):
        raise ScwmError(f"{entry.name}: {wrong}", root, "unpack the data set again")
    check_queries(dataset, root)
    entries = make_manifest(dataset)
    if entry.manifest and (found := manifest_hash(entries)) != entry.manifest:
        raise ScwmError(
            f"{entry.name}: its files differ: manifest hash {found}, expected {entry.manifest}",
            root,
            "get the data set from another mirror, or use it under another name (`folder`)",
        )
    return entries

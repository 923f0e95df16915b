r"""The files of a data set, which verify any mirror.

A manifest lists the images, masks and lists that a protocol uses. Its hash is the sha256 over
the lines `<relative path> <sha256>\n` in the order of the paths. It does not depend on archives,
readmes, other files and the images that the protocol drops.
"""

import csv
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from scwm.core.errors import ScwmError
from scwm.core.files import file_hash, whole_file
from scwm.core.progress import progress
from scwm.data.files import read_text, unreadable
from scwm.data.types import Dataset

NAME = "manifest.csv"


class FileEntry(NamedTuple):
    """One file: path relative to the data set's root, size in bytes, sha256."""

    path: str
    size: int
    sha256: str


def dataset_files(dataset: Dataset) -> list[Path]:
    """List the files that the data set was read from, each once."""
    files = set(dataset.lists)
    for split in dataset.splits.values():
        files.update(split.paths, split.masks or ())
    return sorted(files)


def make_manifest(dataset: Dataset) -> list[FileEntry]:
    """Hash every file of a data set; the entries are sorted by path.

    Raises:
        ScwmError: a file cannot be read.
    """
    files = sorted(Path(os.path.abspath(path)) for path in dataset_files(dataset))
    root = Path(os.path.commonpath([path.parent for path in files]))

    def entry(path: Path) -> FileEntry:
        try:
            return FileEntry(
                path.relative_to(root).as_posix(), path.stat().st_size, file_hash(path)
            )
        except OSError as error:
            raise unreadable(error, path) from error

    with ThreadPoolExecutor() as pool:
        hashed = progress(pool.map(entry, files), f"verify {dataset.name}", total=len(files))
        return sorted(hashed)


def manifest_hash(entries: list[FileEntry]) -> str:
    """Return one sha256 over all entries."""
    lines = "".join(f"{one.path} {one.sha256}\n" for one in sorted(entries))
    return hashlib.sha256(lines.encode()).hexdigest()


def read_manifest(path: Path) -> list[FileEntry]:
    """Read the entries of a manifest.

    Raises:
        ScwmError: the file is not a manifest of `write_manifest`.
    """
    rows = list(csv.reader(read_text(path).splitlines()))
    try:
        if tuple(rows[0]) != FileEntry._fields:
            raise ValueError(f"its columns are {rows[0]}")
        return [FileEntry(name, int(size), sha256) for name, size, sha256 in rows[1:]]
    except (IndexError, ValueError) as error:
        raise ScwmError(f"Not a manifest: {error}", path, "run `scwm data get` again") from error


def write_manifest(entries: list[FileEntry], folder: Path) -> Path:
    """Write `manifest.csv` (path, size, sha256) into the folder."""
    path = folder / NAME
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FileEntry._fields)
        writer.writerows(entries)
    return path

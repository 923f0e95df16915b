"""A folder of pedestrian crops: in Market naming, or with a CSV of path, identity, camera.

- A folder with `images.csv` (or the CSV itself): columns path, identity, camera and optionally
  split (train, query or gallery), separated by commas, semicolons or tabs; paths are relative to
  the CSV. Other columns are passed over.
- A folder with sub-folders `train`, `query`, `gallery` (or Market-1501's own names), of images
  named `<identity>_c<camera>….jpg`.
- A folder of such images.
- A folder with nothing else than one of these folders.

Without splits every image is in train and gallery, and the first image of each identity in each
camera is a query.
"""

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scwm.core.errors import ScwmError, suggest
from scwm.data.files import holds, is_file, read_text, scan
from scwm.data.labels import read_label
from scwm.data.layouts import market1501
from scwm.data.types import Dataset, Split

logger = logging.getLogger(__name__)
CSV_NAME = "images.csv"
COLUMNS = ("path", "identity", "camera")
SPLITS = ("train", "query", "gallery")


def load(source: Path, name: str) -> Dataset:
    """Read a folder of crops, or a CSV that names them.

    Raises:
        ScwmError: the CSV or a file name is malformed, or an image is absent.
    """
    table = source / CSV_NAME if source.is_dir() else source
    if table.is_file():
        return _read_csv(table, name)
    if not source.is_dir():
        raise ScwmError("no such folder or CSV", source, "give a folder of images or a CSV")
    # Checked first, because one of Market-1501's folders is also called `query`.
    if holds(source, market1501.FOLDERS["train"]):
        return market1501.load(source, name)
    folders = {split: source / split for split in SPLITS if (source / split).is_dir()}
    if not folders:
        images, inner, _ = scan(source)
        inner = [folder for folder in inner if folder.name != "__MACOSX"]
        if not images and len(inner) == 1:  # the folder that an archive adds
            return load(inner[0], name)
        if not images:
            raise ScwmError(
                f"no images, no {CSV_NAME} and none of the folders {', '.join(SPLITS)}",
                source,
                "give a folder that holds them",
            )
        return _without_splits(market1501.read_folder(source), name)
    train, query, gallery = (
        market1501.read_folder(folders[split]) if split in folders else _split([])
        for split in SPLITS
    )
    return Dataset(name, train, query, gallery)


def _read_csv(table: Path, name: str) -> Dataset:
    text = read_text(table)
    head = text.partition("\n")[0]
    reader = csv.DictReader(
        io.StringIO(text, newline=""),
        delimiter=max(",;\t", key=head.count),
        skipinitialspace=True,
        strict=True,
    )
    try:
        columns = reader.fieldnames = [one.strip() for one in reader.fieldnames or []]
        rows = [(f"{table}, line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise ScwmError(f"not a CSV: {error}", table, 'separate by commas, quote by "') from error
    _check_columns(columns, table)
    if not rows:
        raise ScwmError("the CSV names no image", table, "add a line for each image")
    chosen: dict[str, list[tuple[Path, int, int]]] = {split: [] for split in SPLITS}
    for where, row in rows:
        item = _read_row(row, table.parent, where)
        split = row.get("split", "train")
        if split not in chosen:
            raise ScwmError(f"split {split!r}", where, f"one of {', '.join(SPLITS)}")
        if item[1] != market1501.JUNK:
            chosen[split].append(item)
    if not any(chosen.values()):
        raise ScwmError("all images are junk (identity -1)", table, "give their identities")
    train, query, gallery = (_split(items) for items in chosen.values())
    if "split" not in columns:
        return _without_splits(train, name, (table,))
    return Dataset(name, train, query, gallery, lists=(table,))


def _check_columns(columns: Sequence[str], table: Path) -> None:
    """Refuse missing, double and misspelt columns; name the others in a warning."""
    others = [one for one in columns if one not in (*COLUMNS, "split")]
    misspelt = "split" not in columns and any(suggest(one, ["split"]) for one in others)
    if misspelt or not set(COLUMNS) <= set(columns) or len(set(columns)) < len(columns):
        raise ScwmError(
            f"columns are {', '.join(columns)}",
            table,
            f"name them {', '.join(COLUMNS)} and optionally split",
        )
    if others:
        logger.warning(f"{table}: columns passed over: {', '.join(others)}")


def _read_row(row: dict[str, str], folder: Path, where: str) -> tuple[Path, int, int]:
    """Read path, identity and camera of one line."""
    if None in row or None in row.values():
        problem = "more" if None in row else "fewer"
        raise ScwmError(f"{problem} values than columns", where, "correct the line")
    labels = []
    for column in ("identity", "camera"):
        try:
            labels.append(read_label(row[column]))
        except ValueError as error:
            remedy = "correct the line; identity -1 means junk"
            raise ScwmError(f"{column} {error}", where, remedy) from None
    named = row["path"]
    for path in (folder / named, folder / named.replace("\\", "/")):  # also as on Windows
        if is_file(path):
            return path, labels[0], labels[1]
    raise ScwmError(f"no image {named}", where, "paths are relative to the CSV")


def _split(items: list[tuple[Path, int, int]]) -> Split:
    numbers = np.array([item[1:] for item in items], np.int64).reshape(-1, 2)
    return Split(tuple(item[0] for item in items), numbers[:, 0], numbers[:, 1])


def _without_splits(images: Split, name: str, lists: tuple[Path, ...] = ()) -> Dataset:
    note = "no splits given: all images in train and gallery, queries among them"
    return Dataset(name, images, images.select(images.firsts()), images, note=note, lists=lists)

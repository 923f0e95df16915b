"""A folder of pedestrian crops: in Market naming, or with a CSV of path, identity, camera.

- A folder with `images.csv` (or the CSV itself): columns path, identity, camera and optionally
  split (train, query or gallery); paths are relative to the CSV.
- A folder with sub-folders `train`, `query`, `gallery` (or Market-1501's own names), of images
  named `<identity>_c<camera>….jpg`.
- A folder of such images.

Without splits every image is in train and gallery, and the first image of each identity in each
camera is a query.
"""

import csv
import io
from pathlib import Path

import numpy as np

from scwm.core.errors import ScwmError
from scwm.data.files import is_file, read_label, read_text
from scwm.data.layouts import market1501
from scwm.data.types import Dataset, Split

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
    root = next((f.parent for f in source.glob(f"**/{market1501.FOLDERS['train']}")), None)
    if root is not None:
        return market1501.load(root, name)
    folders = {split: source / split for split in SPLITS if (source / split).is_dir()}
    if not folders:
        return _without_splits(market1501.read_folder(source), name)
    train, query, gallery = (
        market1501.read_folder(folders[split]) if split in folders else _split([])
        for split in SPLITS
    )
    return Dataset(name, train, query, gallery)


def _read_csv(table: Path, name: str) -> Dataset:
    try:
        reader = csv.DictReader(io.StringIO(read_text(table), newline=""), strict=True)
        columns, rows = reader.fieldnames or [], list(reader)
    except csv.Error as error:
        raise ScwmError(f"not a CSV: {error}", table, 'separate by commas, quote by "') from error
    unknown = set(columns) - {*COLUMNS, "split"}
    if unknown or not set(COLUMNS) <= set(columns) or len(set(columns)) < len(columns):
        raise ScwmError(
            f"columns are {', '.join(columns)}",
            table,
            f"name them {', '.join(COLUMNS)} and optionally split",
        )
    if not rows:
        raise ScwmError("the CSV names no image", table, "add a line for each image")
    chosen: dict[str, list[tuple[Path, int, int]]] = {split: [] for split in SPLITS}
    with_splits = "split" in columns
    for number, row in enumerate(rows, 2):
        where = f"{table}, line {number}"
        try:
            path = table.parent / row["path"]
            item = path, read_label(row["identity"]), read_label(row["camera"])
            if None in row:
                raise ValueError("more values than columns")
        except (TypeError, ValueError, AttributeError):
            raise ScwmError(
                "a path, and identity and camera as whole numbers are needed",
                f"{where}: {','.join(map(str, row.values()))}",
                "correct the line; identity -1 means junk",
            ) from None
        if not is_file(path):
            raise ScwmError(f"no image {row['path']}", where, "paths are relative to the CSV")
        split = row["split"] if with_splits else "train"
        if split not in chosen:
            raise ScwmError(f"split {split!r}", where, f"one of {', '.join(SPLITS)}")
        if item[1] != market1501.JUNK:
            chosen[split].append(item)
    if not any(chosen.values()):
        raise ScwmError("all images are junk (identity -1)", table, "give their identities")
    train, query, gallery = (_split(items) for items in chosen.values())
    if not with_splits:
        return _without_splits(train, name, (table,))
    return Dataset(name, train, query, gallery, lists=(table,))


def _split(items: list[tuple[Path, int, int]]) -> Split:
    numbers = np.array([item[1:] for item in items], np.int64).reshape(-1, 2)
    return Split(tuple(item[0] for item in items), numbers[:, 0], numbers[:, 1])


def _without_splits(images: Split, name: str, lists: tuple[Path, ...] = ()) -> Dataset:
    note = "no splits given: all images in train and gallery, queries among them"
    return Dataset(name, images, images.select(images.firsts()), images, note=note, lists=lists)

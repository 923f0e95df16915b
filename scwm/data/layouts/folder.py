"""A folder of pedestrian crops, or a CSV that names them; identities and cameras are optional.

- A folder with `images.csv` (or the CSV itself): column path and optionally identity, camera and
  split (train, query or gallery), separated by commas, semicolons or tabs; paths are relative to
  the CSV. Other columns are passed over.
- A folder with sub-folders `train`, `query`, `gallery` (or Market-1501's own names) of images.
- A folder of images.
- A folder with nothing else than one of these folders.

Folders are read with their sub-folders. Identity and camera come from a file name of Market-1501
(`<identity>_c<camera>….jpg`) or of MSMT17, or the identity from a sub-folder named by a number that
is no date. If no image has one, all are unlabelled.

Without query and gallery every image is in train and gallery, and the first image of each identity
in each camera is a query. Of unlabelled images a few are queries, as examples.
"""

import csv
import io
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from scwm.core.errors import ScwmError, suggest
from scwm.data.files import holds, is_file, list_images, read_text, scan
from scwm.data.labels import UNKNOWN, labelled, read_label
from scwm.data.layouts import market1501, msmt17
from scwm.data.types import Dataset, Split

logger = logging.getLogger(__name__)
CSV_NAME = "images.csv"
COLUMNS = ("path", "identity", "camera", "split")
SPLITS = ("train", "query", "gallery")
EXAMPLES = 8  # queries among unlabelled images
# Year, month and day, in one name or three, and a time that follows without a sign.
_DATE = re.compile(
    r"(?<!\d)(19|20)\d\d([-_./ ]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(\d{4}|\d{6})?$", re.ASCII
)
Item = tuple[Path, int, int]
"""An image, its identity and its camera."""


def load(source: Path, name: str) -> Dataset:
    """Read a folder of crops, or a CSV that names them.

    Raises:
        ScwmError: the CSV is malformed, an image is absent, or only some of a folder's images have
            an identity.
    """
    table = source / CSV_NAME if source.is_dir() else source
    if table.is_file():
        return _read_csv(table, name)
    if not source.is_dir():
        raise ScwmError("no such folder or CSV", source, "give a folder of images or a CSV")
    # Checked first, because one of Market-1501's folders is also called `query`.
    if holds(source, market1501.FOLDERS["train"]):
        return market1501.load(source, name)
    images, folders, _ = scan(source)
    inner = {folder.name.lower(): folder for folder in folders if folder.name != "__MACOSX"}
    given = [split for split in SPLITS if split in inner]
    if not given:
        if not images and len(inner) == 1:  # the folder that an archive adds
            return load(next(iter(inner.values())), name)
        return _dataset(name, [_read_folder(source), _split([]), _split([])])
    if others := [*images, *(folder for one, folder in inner.items() if one not in given)]:
        logger.warning(f"{source}: only {', '.join(given)} are read, not {others[0].name}")
    return _dataset(
        name, [_read_folder(inner[one]) if one in given else _split([]) for one in SPLITS]
    )


def _read_folder(folder: Path) -> Split:
    """Read the images of a folder and its sub-folders, without junk (identity -1).

    Raises:
        ScwmError: the folder holds no images, or only some have an identity.
    """
    paths = list_images(folder, below=True)
    labels = {path: label for path in paths if (label := _parse(path, folder))}
    _tell_folders(folder, paths, labels)
    if odd := [path for path in paths if labels and path not in labels]:
        raise ScwmError(
            f"image name without identity; {len(labels):,} of {len(paths):,} images have one",
            odd[0],
            "rename it, as 0002_c1s1_000451_03.jpg (-1 for junk), or list the images in a CSV, "
            "of `path` only to use no identities",
        )
    items = [(path, *label) for path, label in labels.items() if label[0] != market1501.JUNK]
    if not labels:
        items = [(path, UNKNOWN, UNKNOWN) for path in paths]
    if not items:
        raise ScwmError(
            "no images here",
            folder,
            f"give a folder of images, a folder with {CSV_NAME}, or one with the folders "
            f"{', '.join(SPLITS)}",
        )
    return _split(items)


def _parse(path: Path, folder: Path) -> tuple[int, int] | None:
    """Parse identity and camera from the name of an image of `folder`; None without identity."""
    for pattern in (market1501.NAME, msmt17.NAME):
        if match := pattern.match(path.name):
            return int(match[1]), int(match[2])
    try:
        own = path.parent != folder and not _is_date(path.parent)
        return (read_label(path.parent.name), UNKNOWN) if own else None
    except ValueError:
        return None


def _is_date(folder: Path) -> bool:
    return bool(_DATE.search(folder.absolute().as_posix()))


def _tell_folders(
    folder: Path, paths: Sequence[Path], labels: Mapping[Path, tuple[int, int]]
) -> None:
    """Log which sub-folders are taken for identities, and which for dates."""
    inner = {path.parent for path in paths if path not in labels} - {folder}
    dates = {one for one in inner if _is_date(one)}
    if dates:
        logger.warning(
            f"sub-folders named by dates: {len(dates):,} not taken for identities, such as "
            f"{min(dates)}; if they are, list the images in {CSV_NAME}"
        )
    # A name of a file holds a camera as well.
    named = {path.parent for path, (_, camera) in labels.items() if camera == UNKNOWN}
    if named:
        logger.info(f"sub-folders taken for identities: {len(named):,}, such as {min(named)}")


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
    chosen: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for where, row in rows:
        item = _read_row(row, table.parent, where)
        split = row.get("split", "train")
        if split not in chosen:
            raise ScwmError(f"split {split!r}", where, f"one of {', '.join(SPLITS)}")
        if "identity" not in columns or item[1] != market1501.JUNK:
            chosen[split].append(item)
    if not any(chosen.values()):
        raise ScwmError("all images are junk (identity -1)", table, "give their identities")
    return _dataset(name, [_split(items) for items in chosen.values()], (table,))


def _check_columns(columns: Sequence[str], table: Path) -> None:
    """Refuse missing, double and misspelt columns; name the others in a warning."""
    others = [one for one in columns if one not in COLUMNS]
    absent = [one for one in COLUMNS if one not in columns]
    hints = [hint for one in others if (hint := suggest(one, absent))]
    if hints or "path" in absent or len(set(columns)) < len(columns):
        raise ScwmError(
            f"columns are {', '.join(columns)}.{''.join(hints[:1])}",
            table,
            f"name them path and optionally {', '.join(COLUMNS[1:])}",
        )
    if others:
        logger.warning(f"{table}: columns passed over: {', '.join(others)}")


def _read_row(row: dict[str, str], folder: Path, where: str) -> Item:
    """Read path, identity and camera of one line; a label without a column is unknown."""
    if None in row or None in row.values():
        problem = "more" if None in row else "fewer"
        raise ScwmError(f"{problem} values than columns", where, "correct the line")
    labels = []
    for column in ("identity", "camera"):
        try:
            labels.append(read_label(row.get(column, str(UNKNOWN))))
        except ValueError as error:
            remedy = "correct the line; identity -1 means junk"
            raise ScwmError(f"{column} {error}", where, remedy) from None
    named = row["path"]
    for path in (folder / named, folder / named.replace("\\", "/")):  # also as on Windows
        if is_file(path):
            return path, labels[0], labels[1]
    raise ScwmError(f"no image {named!r}", where, "paths are relative to the CSV")


def _split(items: Sequence[Item]) -> Split:
    numbers = np.array([item[1:] for item in items], np.int64).reshape(-1, 2)
    return Split(tuple(item[0] for item in items), numbers[:, 0], numbers[:, 1])


def _dataset(name: str, splits: Sequence[Split], lists: tuple[Path, ...] = ()) -> Dataset:
    """Make a data set of train, query and gallery; the last two may both be empty."""
    train, query, gallery = splits
    if len(query) or len(gallery):
        return Dataset(name, train, query, gallery, lists=lists)
    asked = train.firsts()
    if not labelled(train.ids):
        asked = np.isin(np.arange(len(train)), np.linspace(0, len(train) - 1, EXAMPLES).astype(int))
    note = "no splits given: all images in train and gallery, queries among them"
    return Dataset(name, train, train.select(asked), train, note=note, lists=lists)

"""MSMT17 (Wei et al., CVPR 2018) in its three layouts.

V1 holds `train/` and `test/`, V2 (faces masked) `mask_train_v2/` and `mask_test_v2/`, each with
`list_{train,val,query,gallery}.txt` next to them: lines `<relative path> <identity>`. The third is
Market-1501's layout. Published numbers differ in whether training uses the `val` list; the note of
the data set names the lists.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from scwm.core.errors import ScwmError
from scwm.data.files import find_root, holds, inner_path, is_file, read_text
from scwm.data.labels import read_label
from scwm.data.layouts import market1501
from scwm.data.types import Dataset, Split

LAYOUTS = {"V1": ("train", "test"), "V2": ("mask_train_v2", "mask_test_v2")}
TRAIN_LISTS = ("train", "val")
NAME = re.compile(r"(\d{1,18})_\d+_(\d{1,18})_\d{4}(?:morning|noon|afternoon)_", re.ASCII)


def load(source: Path, name: str, train_lists: Sequence[str] = TRAIN_LISTS) -> Dataset:
    """Read MSMT17 from its folder, in any of its layouts.

    Args:
        source: its folder, or a folder that holds it.
        name: the data set's name.
        train_lists: the lists that make up the training split, of `train` and `val`.

    Raises:
        ScwmError: no layout fits, or a list is malformed or names an absent image.
    """
    if not train_lists or not set(train_lists) <= set(TRAIN_LISTS):
        raise ScwmError(
            f"train_lists is {list(train_lists)}", name, f"choose from {list(TRAIN_LISTS)}"
        )
    names = [*train_lists, "query", "gallery"]
    files = [f"list_{split}.txt" for split in names]
    for version, (train, test) in LAYOUTS.items():
        if holds(source, train):
            root = find_root(source, (train, test, *files), f"{name} ({version} layout)")
            folders = [train] * len(train_lists) + [test] * 2
            lists = [root / file for file in files]
            splits = [
                _read_list(path, root / folder) for path, folder in zip(lists, folders, strict=True)
            ]
            *train_splits, query, gallery = splits
            note = f"{version}; train = {' + '.join(f'list_{one}' for one in train_lists)}"
            return Dataset(name, _join(train_splits), query, gallery, note=note, lists=tuple(lists))
    if holds(source, market1501.FOLDERS["train"]):
        if set(train_lists) != set(TRAIN_LISTS):
            raise ScwmError(
                "the Market-style layout does not separate list_train from list_val",
                source,
                "supply MSMT17 in its own layout, or leave train_lists at its default",
            )
        data = market1501.load(source, name)
        note = "Market-style; train = bounding_box_train (list_train + list_val)"
        return Dataset(name, data.train, data.query, data.gallery, note=note)
    known = [folders[0] for folders in LAYOUTS.values()] + [market1501.FOLDERS["train"]]
    raise ScwmError(
        f"{name}: no known layout", source, f"the folder must hold one of {', '.join(known)}"
    )


def _join(splits: Sequence[Split]) -> Split:
    return Split(
        tuple(path for split in splits for path in split.paths),
        np.concatenate([split.ids for split in splits]),
        np.concatenate([split.cameras for split in splits]),
    )


def _read_list(path: Path, folder: Path) -> Split:
    paths, ids, cameras = [], [], []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}: {line.strip()[:200]}"
        try:
            relative, identity = line.split()
            cameras.append(read_label(PurePosixPath(relative).name.split("_")[2]))
            ids.append(read_label(identity))
        except (ValueError, IndexError):
            raise ScwmError(
                "not a line of an MSMT17 list",
                where,
                "lines are `<folder>/<person>_<image>_<camera>_….jpg <identity>`",
            ) from None
        inner = inner_path(relative)
        if inner is None:
            raise ScwmError("a list names a path outside of its folder", where, "correct the list")
        paths.append(folder / inner)
    if not paths:
        raise ScwmError("the list names no image", path, "supply the list again")
    missing = [file for file in paths if not is_file(file)]
    if missing:
        raise ScwmError(
            f"{len(missing)} of {len(paths)} images in {path.name} are absent",
            missing[0],
            "unpack the data set again",
        )
    return Split(tuple(paths), np.array(ids, np.int64), np.array(cameras, np.int64))

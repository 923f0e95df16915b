"""Identities and cameras: read from text, and checked before a training."""

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np

from scwm.core.errors import ScwmError
from scwm.data.types import Dataset

_LABEL = re.compile(r"(-1|\d{1,18})(\.0+)?", re.ASCII)  # fits 64 bits


def read_label(text: str) -> int:
    """Parse an identity or a camera: a whole number from -1 on, also written as `7.0`.

    Raises:
        ValueError: the text is not such a number.
    """
    found = _LABEL.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a whole number from -1 on")
    return int(found[1])


def check_labels(dataset: Dataset) -> None:
    """Check that no image is twice in a split, or has two identities or cameras.

    Raises:
        ScwmError: one is or has.
    """
    known: dict[str, list[int]] = {}
    for name, split in dataset.splits.items():
        paths = [os.path.normpath(path) for path in split.paths]
        for path, *labels in zip(paths, split.ids.tolist(), split.cameras.tolist(), strict=True):
            first = known.setdefault(path, labels)
            if first != labels:
                shown = " and ".join(
                    f"identity {one[0]} at camera {one[1]}" for one in (first, labels)
                )
                raise ScwmError(f"one image is {shown}", path, "keep the right one")
        double, times = Counter(paths).most_common(1)[0] if paths else ("", 0)
        if times > 1:
            raise ScwmError(f"one image is twice in {name}", double, "list it once")


def check_queries(dataset: Dataset, root: Path) -> None:
    """Check that a run on the data set can be scored, before its training.

    Raises:
        ScwmError: a split is empty, or no query has a match.
    """
    for name, split in dataset.splits.items():
        if not len(split):
            raise ScwmError(f"{dataset.name}: no image in {name}", root, "supply images for it")
    query, gallery = dataset.query, dataset.gallery
    cameras: dict[int, set[int]] = {}
    for identity, camera in set(zip(gallery.ids.tolist(), gallery.cameras.tolist(), strict=True)):
        cameras.setdefault(identity, set()).add(camera)
    asked = zip(query.ids.tolist(), query.cameras.tolist(), strict=True)
    if not any(cameras.get(identity, set()) - {camera} for identity, camera in asked):
        raise ScwmError(
            f"{dataset.name}: no query has a match in the gallery from another camera "
            f"({len(np.unique(query.cameras))} camera(s) in query, "
            f"{len(np.unique(gallery.cameras))} in gallery)",
            root,
            "correct identities and cameras; to only train, give the folder to `scwm data store`",
        )

"""Identities and cameras: read from text, checked before a training, and unknown ones."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from scwm.core.errors import ScwmError
from scwm.data.types import Dataset, Split

logger = logging.getLogger(__name__)
UNKNOWN = -1  # identity or camera
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


def labelled(ids: np.ndarray) -> bool:
    """Whether any of N images has an identity."""
    return bool((ids != UNKNOWN).any())


def separate_cameras(dataset: Dataset) -> Dataset:
    """Give each image of an unknown camera a negative camera of its own.

    The ranking, which leaves out images of the query's camera, then leaves out only the query's own
    file. A camera is unknown also if the training images, or query and gallery, have only one.
    """
    paths = dict.fromkeys(
        os.path.normpath(path) for split in dataset.splits.values() for path in split.paths
    )
    numbers = {path: -1 - row for row, path in enumerate(paths)}

    def separated(*splits: Split) -> Iterator[Split]:
        single = len(np.unique(np.concatenate([split.cameras for split in splits]))) < 2
        for split in splits:
            own = np.array([numbers[os.path.normpath(path)] for path in split.paths], np.int64)
            unknown = single | (split.cameras == UNKNOWN)
            yield replace(split, cameras=np.where(unknown, own, split.cameras))

    (train,), (query, gallery) = separated(dataset.train), separated(dataset.query, dataset.gallery)
    return replace(dataset, train=train, query=query, gallery=gallery)


def describe_labels(dataset: Dataset) -> str:
    """Say how a data set of `separate_cameras` is scored; "" for the standard protocol."""
    query, gallery = dataset.query, dataset.gallery
    if not (labelled(query.ids) and labelled(gallery.ids)):
        return "query and gallery without identities"
    if (gallery.cameras < 0).all():
        return "one camera or none: only the query's own file is left out"
    counts = [
        f"{unknown:,} of {len(split):,} {name}"
        for name, split in (("query", query), ("gallery", gallery))
        if (unknown := int((split.cameras < 0).sum()))
    ]
    if counts:
        return f"unknown cameras ({', '.join(counts)} images) count as different from all others"
    return ""


def check_queries(dataset: Dataset, root: Path) -> None:
    """Check, before a training, that no split is empty and that identities can be scored.

    Raises:
        ScwmError: a split is empty, or query or gallery has identities, but no query a match.
    """
    for name, split in dataset.splits.items():
        if not len(split):
            raise ScwmError(f"{dataset.name}: no image in {name}", root, "supply images for it")
    query, gallery = dataset.query, dataset.gallery
    if not labelled(query.ids) and not labelled(gallery.ids):
        logger.warning(f"{dataset.name}: {describe_labels(dataset)}: nothing will be scored")
        return
    cameras: dict[int, set[int]] = {}
    for identity, camera in set(zip(gallery.ids.tolist(), gallery.cameras.tolist(), strict=True)):
        cameras.setdefault(identity, set()).add(camera)
    asked = zip(query.ids.tolist(), query.cameras.tolist(), strict=True)
    if not any(cameras.get(identity, set()) - {camera} for identity, camera in asked):
        several = "" if (gallery.cameras < 0).all() else " from another camera"
        raise ScwmError(
            f"{dataset.name}: no query has a match in the gallery{several}",
            root,
            "correct identities and cameras; to only train, list the images in a CSV of `path`",
        )

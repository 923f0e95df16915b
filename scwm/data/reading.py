"""Reading of a data set by its layout, which decides with the store what a run sees."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scwm.core.errors import ScwmError
from scwm.core.plugins import LAYOUTS
from scwm.data.labels import check_labels, separate_cameras
from scwm.data.types import Dataset


def read_dataset(
    root: Path, name: str, layout: str, options: Mapping[str, Any], note: str
) -> Dataset:
    """Read a data set, with checked labels.

    Args:
        root: folder or CSV of the images.
        name: the data set's name.
        layout: a file of scwm/data/layouts.
        options: more arguments of the layout's `load`.
        note: put in front of the notes of the layout and of the labels.

    Raises:
        ScwmError: an option is none of the layout's, or a label is not valid.
    """
    load = LAYOUTS.load(layout).load
    try:
        dataset: Dataset = load(root, name, **options)
    except TypeError as error:
        raise ScwmError(
            f"The layout {layout} failed: {error}",
            f"options of {name}",
            f"correct the data set's entry; if it is right, scwm/{LAYOUTS.file(layout)}",
        ) from error
    check_labels(dataset)
    dataset = separate_cameras(dataset)
    return replace(dataset, note="; ".join(filter(None, [note, dataset.note])))


def wrong_counts(counts: Mapping[Any, int], dataset: Dataset) -> str:
    """Describe the counts of a data set that differ from these; "" if none does."""
    found = {name: len(split) for name, split in dataset.splits.items()}
    found["train_ids"] = len(np.unique(dataset.train.ids))
    found["test_ids"] = len(np.unique(dataset.query.ids))
    wrong = [
        f"{found[key]:,} {key} (standard {count:,})"
        for key, count in counts.items()
        if found[key] != count
    ]
    return "not the standard data: " + ", ".join(wrong) if wrong else ""

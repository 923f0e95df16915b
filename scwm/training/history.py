"""The history of a training: one row an epoch, written as CSV and read back."""

import csv
from pathlib import Path
from typing import Any

from scwm.core.files import read_csv, whole_file
from scwm.core.settings import TrainingSettings
from scwm.method.objective import LOSSES

# The registry of measures (scwm/core/measures.py) says what these are. It is not imported, so that
# a new title there does not change what a training depends on. A test compares the two.
HISTORY = (
    *("epoch", "iterations", "images", *LOSSES),
    *("clusters", "unclustered_share", "ari", "nmi"),
    *("label_foreground_iou", "label_part_miou", "label_misplaced_share"),
    *("mask_foreground_iou", "mask_part_miou"),
    *("effective_parts", "part_similarity", "wrong_share"),
    *("global_wrong_ratio", "global_hidden_ratio", "global_hard_rank"),
    *("part_wrong_ratio", "part_hidden_ratio", "part_hard_rank"),
    *("learning_rate", "seconds_features", "seconds_pseudo_labels", "seconds_parsing"),
    *("seconds_training", "cpu_seconds"),
)


def write_history(history: list[dict[str, Any]], path: Path) -> None:
    """Write one CSV row an epoch; a value that does not apply is an empty cell."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HISTORY)
        writer.writeheader()
        for row in history:
            shown = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
            writer.writerow(shown)


def describe_epoch(history: list[dict[str, Any]], settings: TrainingSettings) -> str:
    """Describe the last epoch of a history in one line, with an estimate of the time left."""
    row, number = history[-1], len(history)
    spent = sum(v for old in history for k, v in old.items() if k.startswith("seconds_"))
    left = (settings.epochs - number) * spent / number
    terms = [f"{t.removeprefix('loss_')} {row[t]:.3g}" for t in LOSSES[1:] if row.get(t)]
    words = [
        f"epoch {number}/{settings.epochs}: loss {row['loss']:.3g} ({', '.join(terms)})",
        f"learning rate {row['learning_rate']:.2g}",
        f"{row['clusters']} clusters, {row['unclustered_share']:.1%} unclustered",
        *([] if row["ari"] is None else [f"ARI {row['ari']:.2f}"]),
        f"{row['images'] / row['seconds_training']:.0f} images/s",
        f"{left / 60:.0f} min left" if left >= 60 else f"{left:.0f} s left",
    ]
    return ", ".join(words)


def training_speed(history: Path) -> float | None:
    """Images a second in the optimiser steps of a finished run; None for an untrained one."""
    rows = read_csv(history)
    seconds = sum(float(row["seconds_training"]) for row in rows)
    return sum(int(row["images"]) for row in rows) / seconds if rows else None


def training_cpu_seconds(history: Path) -> float | None:
    """CPU seconds of all epochs, of all threads of the first process; None of an untrained run."""
    rows = read_csv(history)
    return sum(float(row["cpu_seconds"]) for row in rows) if rows else None


def training_seconds(history: Path) -> float:
    """Seconds of all stages of all epochs, whichever process ran them."""
    return sum(
        float(value)
        for row in read_csv(history)
        for name, value in row.items()
        if name.startswith("seconds_")
    )

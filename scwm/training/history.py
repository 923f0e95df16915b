"""The history of a training: one row an epoch, written as CSV and read back."""

import csv
from pathlib import Path
from typing import Any

from scwm.core.files import read_csv
from scwm.core.settings import Config


def write_history(history: list[dict[str, Any]], path: Path) -> None:
    """Write one CSV row an epoch, with a column for each value that any epoch has.

    The registry of measures (`scwm.core.measures`) says what the columns mean. This module does
    not import it, so that a new title does not change what a training depends on.
    """
    columns = dict.fromkeys(key for row in [{"epoch": ""}, *history] for key in row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in history:
            shown = {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}
            writer.writerow(shown)


def training_speed(config: Config, history: Path) -> float | None:
    """Images a second in the optimiser steps of a finished run; None for an untrained one."""
    rows = read_csv(history)
    batch = config.training.identities * config.training.instances
    seconds = sum(float(row["seconds_training"]) for row in rows)
    steps = sum(int(row["iterations"]) for row in rows)
    return steps * batch / seconds if rows else None


def training_seconds(history: Path) -> float:
    """Seconds of all stages of all epochs, whichever process ran them."""
    return sum(
        float(value)
        for row in read_csv(history)
        for name, value in row.items()
        if name.startswith("seconds_")
    )

"""The history of a training: one row an epoch, written as CSV and read back."""

import csv
from pathlib import Path
from typing import Any

from scwm.core.files import read_csv
from scwm.core.measures import keys_at
from scwm.core.settings import Config

HISTORY = keys_at("history:")


def write_history(history: list[dict[str, Any]], path: Path) -> None:
    """One CSV row an epoch; a value that does not apply is an empty cell."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, HISTORY)
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

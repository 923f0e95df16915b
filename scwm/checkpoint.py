"""Checkpoints that survive a kill: written beside, synced, renamed, the previous one kept."""

import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scwm.config import Config, config_hash

PACKAGE = Path(__file__).parent
_NOT_TRAINING = ("reporting", "evaluation", "mannequins", "study.py")


def state_key(config: Config, data_hash: str, weights_hash: str) -> str:
    """Name of the folder that holds a run's checkpoints: the config, the images, the starting
    weights and the code that trains; a change in any of them never resumes."""
    code = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        if not set(_NOT_TRAINING) & set(path.relative_to(PACKAGE).parts):
            code.update(path.read_bytes())
    parts = [config_hash(config), data_hash, weights_hash, code.hexdigest()]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def save_atomically(payload: Mapping[str, Any], path: Path) -> None:
    """torch.save to a file that is whole or absent, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            torch.save(dict(payload), file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Checkpoints:
    """The newest and the previous checkpoint of one run in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.newest, self.previous = folder / "checkpoint.pt", folder / "previous.pt"

    def save(self, payload: Mapping[str, Any]) -> None:
        """Add a checkpoint; at every moment at least one whole one is on disk."""
        if self.newest.exists():
            self.newest.replace(self.previous)
        save_atomically(payload, self.newest)

    def load(self) -> dict[str, Any] | None:
        """The newest checkpoint that can be read, or None."""
        for path in (self.newest, self.previous):
            if path.exists():
                try:
                    payload = torch.load(path, map_location="cpu", weights_only=True)
                except Exception as error:
                    warnings.warn(f"Damaged checkpoint {path} removed: {error}", stacklevel=2)
                    path.unlink()  # else the next save would put it in the good one's place
                else:
                    return dict(payload)
        return None

    def remove(self) -> None:
        """Delete both; the run is finished."""
        for path in (self.newest, self.previous):
            path.unlink(missing_ok=True)

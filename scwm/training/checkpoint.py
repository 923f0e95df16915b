"""Checkpoints at epoch ends that survive a kill, and the signals that stop a training."""

import hashlib
import logging
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from scwm.core import distributed
from scwm.core.config import flatten, named_modules, plain
from scwm.core.errors import Interrupted, ScwmError
from scwm.core.files import file_hash, save_atomically
from scwm.core.settings import Config
from scwm.core.sources import PACKAGE, sources

logger = logging.getLogger(__name__)

TRAINER = "training/trainer.py"
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

Key = dict[str, Any]


def training_key(config: Config, data_hash: str, weights_hash: str) -> Key:
    """Build the key that a checkpoint must match.

    It holds the config, the images, the starting weights, and each source file that the training of
    this config depends on.
    """
    key = {f"config {name}": value for name, value in flatten(plain(config))}
    for file in sources([TRAINER, *named_modules(config)]):
        key[f"code {file}"] = file_hash(PACKAGE / file)[:12]
    return key | {"images": data_hash, "weights": weights_hash}


def state_name(config: Config, run: Path) -> str:
    """Name of the folder for the checkpoints of the run that `run` is to hold."""
    place = hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:8]
    return f"{config.dataset}-{config.method}-seed{config.seed}-{place}"


class Checkpoints:
    """The newest and the previous checkpoint of one run in `folder`.

    Args:
        folder: used by this run only.
        key: what a checkpoint must match to be resumed.
    """

    def __init__(self, folder: Path, key: Key) -> None:
        self.folder, self.key = folder, key
        self.newest, self.previous = folder / "checkpoint.pt", folder / "previous.pt"
        self.signal: int | None = None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Keep a request to stop in `signal` until `stop_if_asked`; a second request stops at once.

        Only the main thread receives signals.
        """

        def note(number: int, frame: FrameType | None) -> None:
            if self.signal is not None:
                raise KeyboardInterrupt
            self.signal = number

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop_if_asked(self, epochs: int) -> None:
        """Return where no process got a signal; all of them must call this together.

        Args:
            epochs: that are finished, the last of them with its checkpoint.

        Raises:
            Interrupted: a signal asks to stop.
        """
        stop = distributed.highest(self.signal or 0)
        if not stop:
            return
        kept, then = "Nothing is saved before the first epoch's end", "starts from the beginning"
        if epochs:
            kept, then = f"Epoch {epochs} is saved", f"resumes after epoch {epochs}"
        raise Interrupted(
            f"Stopped by {signal.Signals(stop).name}. {kept}.",
            self.newest if epochs else None,
            f"call the same command again: it {then}",
        )

    def save(self, state: Mapping[str, Any]) -> None:
        """Add a checkpoint; at every moment at least one whole one is on disk."""
        if distributed.is_main():
            if self.newest.exists():
                self.newest.replace(self.previous)
            save_atomically({"key": self.key, "state": dict(state)}, self.newest)

    def load(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint that can be read, or None; tidies the folder.

        Raises:
            ScwmError: the checkpoint was made with another config, code or data.
        """
        for left in self.folder.glob("*.part"):  # by a process that was killed while it wrote
            left.unlink()
        for path in (self.newest, self.previous):
            if path.exists():
                try:
                    payload = torch.load(path, map_location="cpu", weights_only=True)
                    key, state = payload["key"], payload["state"]
                except (OSError, MemoryError):  # the file may be whole
                    raise
                except Exception as error:
                    logger.warning("Damaged checkpoint %s removed: %s", path, error)
                    path.unlink()  # else the next save would put it in the good one's place
                else:
                    self._check(key)
                    return dict(state)
        return None

    def _check(self, key: Key) -> None:
        names = [n for n in sorted(key.keys() | self.key.keys()) if key.get(n) != self.key.get(n)]
        if names:
            differing = "; ".join(f"{n}: {key.get(n)} there, {self.key.get(n)} here" for n in names)
            raise ScwmError(
                f"An unfinished training of this run was made with other settings. {differing}.",
                self.folder,
                "delete that folder to train again, or set back what differs to resume",
            )

    def remove(self) -> None:
        """Delete both, and the folder; the run is finished."""
        for path in (self.newest, self.previous):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # there is none, or it holds something else
            self.folder.rmdir()

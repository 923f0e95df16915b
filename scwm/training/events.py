"""TensorBoard's event files of a training."""

from pathlib import Path
from typing import Any

from scwm.core.plugins import optional_module


class EventFiles:
    """Writes the rows of a training's history as scalars; the step is the number of the epoch.

    A resumed training writes all its epochs again, in a new file whose first record makes
    TensorBoard discard what older files of the folder hold.

    Args:
        folder: for the event files; it is made with the first row.

    Raises:
        ScwmError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._package = optional_module("torch.utils.tensorboard", "tensorboard")
        self._folder, self._rows = folder, 0
        self._writer: Any = None

    def write(self, history: list[dict[str, Any]]) -> None:
        """Add the rows that are not yet written."""
        if self._writer is None:
            self._writer = self._package.SummaryWriter(str(self._folder), purge_step=1)
        for row in history[self._rows :]:
            for name, value in row.items():
                if value is not None:  # it applies
                    self._writer.add_scalar(f"history/{name}", value, row["epoch"])
        self._writer.flush()
        self._rows = len(history)

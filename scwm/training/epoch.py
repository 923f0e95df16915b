"""One epoch of a training between its first step and its last, as it is saved and resumed."""

from collections.abc import Iterator
from itertools import islice
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scwm.core.config import Config
from scwm.core.errors import ScwmError
from scwm.core.seeding import numpy_generator, torch_generator
from scwm.data.sampler import identity_batches
from scwm.data.store import StoreSplit
from scwm.evaluation.monitor import StepMonitor
from scwm.method.objective import LOSSES, Objective


class Epoch:
    """What an epoch's steps work with, beside network and optimiser.

    Args:
        config: of the run.
        number: from 0.
        labels: (N,) pseudo identities, -1 = unclustered.
        objective, monitor: of these labels.
        row: the epoch's row of the history so far; its `seconds_…` are added to.

    Attributes:
        draws: the generator of the augmentation.
        losses: of each step that is done, (6,) in the order of LOSSES.
    """

    def __init__(
        self,
        config: Config,
        number: int,
        labels: Tensor,
        objective: Objective,
        monitor: StepMonitor,
        row: dict[str, Any],
    ) -> None:
        self.config, self.number, self.labels = config, number, labels
        self.objective, self.monitor, self.row = objective, monitor, row
        self.draws = torch_generator(config["seed"], "augment", number)
        self.losses: list[Tensor] = []
        self._since = perf_counter()

    def batches(self, cameras: np.ndarray) -> Iterator[np.ndarray]:
        """Rows (B,) of the training images of each step that is still to come."""
        settings = self.config["training"]
        batches = identity_batches(
            self.labels.cpu().numpy(),
            settings["identities"],
            settings["instances"],
            settings["iterations"],
            numpy_generator(self.config["seed"], "sampler", self.number),
            cameras if settings["sampler"] == "identities_and_cameras" else None,
        )
        return islice(batches, len(self.losses), None)

    def finish(self, parsed: bool) -> dict[str, Any]:
        """The epoch's row of the history: means of the losses, and the monitor's measures."""
        self._check_and_clock()
        means = torch.stack(self.losses).mean(0).tolist()
        absent = [] if parsed else ["loss_parsing", "loss_diversity"]
        absent += [] if self.objective.parts else ["loss_part", "loss_separation"]
        losses = {n: v for n, v in zip(LOSSES, means, strict=True) if n not in absent}
        known = {"epoch": self.number + 1, "iterations": len(self.losses)}
        return {**known, **losses, **self.row, **self.monitor.read()}

    def state(self) -> dict[str, Any]:
        """All that `restore` needs.

        Raises:
            ScwmError: a loss is not finite, so that the state is not worth keeping.
        """
        self._check_and_clock()
        return {
            "number": self.number,
            "labels": self.labels,
            "objective": self.objective.state_dict(),
            "monitor": self.monitor.state(),
            "row": self.row,
            "draws": self.draws.get_state(),
            "losses": self.losses,
        }

    @classmethod
    def restore(
        cls, state: dict[str, Any], config: Config, split: StoreSplit, device: torch.device
    ) -> "Epoch":
        """The epoch that `state()` described."""
        labels = state["labels"].to(device)
        objective = Objective.restore(config, state["objective"]).to(device)
        monitor = StepMonitor.restore(state["monitor"], objective, labels, split)
        epoch = cls(config, state["number"], labels, objective, monitor, state["row"])
        epoch.draws.set_state(state["draws"])
        epoch.losses = [losses.to(device) for losses in state["losses"]]
        return epoch

    def _check_and_clock(self) -> None:
        now = perf_counter()
        self.row["seconds_training"] = self.row.get("seconds_training", 0.0) + now - self._since
        self._since = now
        if not self.losses:
            return
        steps, terms = torch.nonzero(~torch.isfinite(torch.stack(self.losses))).T.tolist()
        if steps:
            wrong = [LOSSES[t] for s, t in zip(steps, terms, strict=True) if s == steps[0]]
            raise ScwmError(
                f"Not finite at step {steps[0] + 1} of epoch {self.number + 1}: "
                f"{', '.join(wrong)}.",
                "training",
                "lower training.learning_rate; the last checkpoint is kept",
            )

"""One epoch of a training: what its steps work with, and its row of the history."""

from collections.abc import Iterator
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scwm.core.errors import ScwmError
from scwm.core.seeding import numpy_generator, torch_generator
from scwm.core.settings import Config
from scwm.data.sampler import filled_batches, identity_batches
from scwm.evaluation.monitor import StepMonitor
from scwm.method.objective import LOSSES, Objective


class Epoch:
    """What an epoch's steps work with, next to network and optimiser.

    Args:
        config: of the run.
        number: from 0.
        labels: (N,) classes of the training images, -1 = left out.
        objective, monitor: of these labels.
        row: the epoch's row of the history so far.

    Attributes:
        known: `labels` on the host.
        draws: the generator of the augmentation.
        losses: of each step that is done, (6,) in the order of LOSSES.
        images: number of images drawn so far; an epoch of few clusters has smaller batches.
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
        self.known = labels.cpu().numpy()
        self.objective, self.monitor, self.row = objective, monitor, row
        self.draws = torch_generator(config.seed, "augment", number)
        self.losses: list[Tensor] = []
        self.images = 0
        self._start = perf_counter()

    def batches(self, cameras: np.ndarray) -> Iterator[np.ndarray]:
        """Rows (B,) of the training images of each step."""
        settings = self.config.training
        alone = self.config.pseudo_labels.unclustered == "own_class"
        draw = filled_batches if alone else identity_batches
        for rows in draw(
            self.known,
            settings.identities,
            settings.instances,
            settings.iterations,
            numpy_generator(self.config.seed, "sampler", self.number),
            cameras if settings.sampler == "identities_and_cameras" else None,
        ):
            self.images += len(rows)
            yield rows

    def finish(self, parsed: bool) -> dict[str, Any]:
        """The epoch's row of the history: means of the losses, and the monitor's measures.

        Raises:
            ScwmError: a loss is not finite.
        """
        losses = torch.stack(self.losses).cpu()
        seconds = {"seconds_training": perf_counter() - self._start}
        self._check(losses)
        absent = [] if parsed else ["loss_parsing", "loss_diversity"]
        absent += [] if self.objective.parts else ["loss_part", "loss_separation"]
        means = zip(LOSSES, losses.mean(0).tolist(), strict=True)
        known = {"epoch": self.number + 1, "iterations": len(losses), "images": self.images}
        known |= {name: mean for name, mean in means if name not in absent}
        return {**known, **self.row, **seconds, **self.monitor.read()}

    def _check(self, losses: Tensor) -> None:
        steps, terms = torch.nonzero(~torch.isfinite(losses)).T.tolist()
        if steps:
            wrong = [LOSSES[t] for s, t in zip(steps, terms, strict=True) if s == steps[0]]
            raise ScwmError(
                f"Not finite at step {steps[0] + 1} of epoch {self.number + 1}: "
                f"{', '.join(wrong)}.",
                "training",
                "lower training.learning_rate; the last checkpoint is kept",
            )

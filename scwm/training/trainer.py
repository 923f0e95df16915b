"""The training of one run: pseudo labels, cascaded clustering, memory and steps, epoch by epoch."""

import logging
import time
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from scwm.core import distributed
from scwm.core.config import plain
from scwm.core.device import (
    autocast,
    default_device,
    place,
    resolve_precision,
    tensor_float32,
)
from scwm.core.errors import ScwmError
from scwm.core.files import save_atomically
from scwm.core.progress import progress
from scwm.core.seeding import derived_seed
from scwm.core.settings import Config, TrainingSettings
from scwm.data.augment import Augment
from scwm.data.store import StoreSplit
from scwm.evaluation.label_quality import label_scores
from scwm.evaluation.monitor import StepMonitor, identity_means
from scwm.evaluation.parsing_quality import training_scores
from scwm.method.camera_proxies import camera_proxies
from scwm.method.labelling import label_images, parse_images, trained_classes
from scwm.method.objective import Objective, start_prototypes
from scwm.method.pseudo_labels.reliability import Reliability
from scwm.method.refinement import Refinement, agreement_scores
from scwm.models import Network, Output
from scwm.models.batch_norm import normalise_in_groups, own_rows
from scwm.models.embedding import Embedding, ImageBatches, embed
from scwm.training.average import RunningAverage
from scwm.training.checkpoint import Checkpoints
from scwm.training.epoch import Epoch
from scwm.training.events import EventFiles
from scwm.training.history import describe_epoch, write_history
from scwm.training.start import start_neck, start_parts

logger = logging.getLogger(__name__)


def learning_rate(settings: TrainingSettings, number: int) -> float:
    """Compute the learning rate of an epoch, from 0: warm-up, then decay by steps."""
    decays = number // settings.decay_every if settings.decay_every else 0
    rise = min(1.0, (number + 1) / settings.warmup) if settings.warmup else 1.0
    return float(settings.learning_rate * rise * settings.decay**decays)


def build_network(config: Config, weights: dict[str, Tensor] | None) -> Network:
    """The network of a run at its start: the seed's parameters under the pretrained backbone."""
    torch.manual_seed(derived_seed(config.seed, "model"))
    return Network(config, weights)


class Trainer:
    """Trains `network` on the training images of a data set.

    Identities of `split`, if they are known, are read for two purposes only: scores in the history,
    and as the labels of the control ``pseudo_labels.source: truth``. Masks are never trained on;
    cameras only by ``training.sampler: identities_and_cameras`` and `refinement.cameras`, which the
    tables name.

    Args:
        run: folder whose history.csv grows with every epoch; None: only `history` does.
        events: event files that grow with it.

    Raises:
        ScwmError: there are fewer than two images, or `refinement.cameras` has fewer than two known
            cameras to compare.
    """

    def __init__(
        self,
        config: Config,
        network: Network,
        split: StoreSplit,
        run: Path | None = None,
        events: EventFiles | None = None,
    ) -> None:
        self.split, self.device, self.folder, self.events = split, default_device(), run, events
        self.config = resolve_precision(config, self.device)
        self.network = place(network, self.device)
        self.images = ImageBatches(split.images, self.device)
        if len(self.images) < 2:
            raise ScwmError(
                f"A training needs at least two images, the split has {len(self.images)}.",
                "train",
                "check the splits of the data set",
            )
        if config.refinement.cameras and len(np.unique(split.cameras[split.cameras >= 0])) < 2:
            raise ScwmError(
                "refinement.cameras is above 0, but fewer than two cameras are known.",
                "camera labels",
                "give images of several cameras, or refinement.cameras: 0",
            )
        settings = config.training
        # All batches have the same shape, for which cuDNN chooses the fastest kernels once.
        torch.backends.cudnn.benchmark = not settings.deterministic
        parameters = [p for p in network.parameters() if p.requires_grad]
        self.refinement: Refinement | None = None
        if config.refinement.neighbours:
            made = Refinement(config, len(self.images), network.neck.num_features)
            self.refinement = place(made, self.device)
            parameters += made.parameters()
        rate, decay = settings.learning_rate, settings.weight_decay
        self.optimizer = torch.optim.Adam(parameters, rate, weight_decay=decay, fused=True)
        self.average = RunningAverage(network, settings.average)
        self.augment = Augment(config.augment.flip, config.augment.pad, config.augment.erase)
        self.parsed = network.parts > 0 and config.model.part_source == "parsed"
        self.part_labels: Tensor | None = None
        self.slots: Tensor | None = None
        gap = config.pseudo_labels.eps_gap
        self.reliability = Reliability(gap) if gap else None
        self.history: list[dict[str, Any]] = []

    @property
    def precision(self) -> str:
        """float32 | tf32 | bfloat16: of the steps, and of the features that are clustered."""
        return str(self.config.training.precision)

    @property
    def model(self) -> Network:
        """The running average of the network: it labels the next epoch and is the result."""
        return cast(Network, self.average.network)

    @cached_property
    def parallel(self) -> nn.Module:
        """The network of the steps, made at the first step from the first process's weights.

        It normalises over virtual batches and averages gradients over processes.
        """
        settings = self.config.training
        batch = settings.identities * settings.instances
        normalise_in_groups(self.network, batch, settings.virtual_batch)
        several = distributed.count() > 1
        return DistributedDataParallel(self.network) if several else self.network

    def run(self, checkpoints: Checkpoints) -> None:
        """Train to the last epoch, from the newest checkpoint if there is one.

        Raises:
            Interrupted: a signal asked to stop; the epochs that are finished are saved.
        """
        settings, seed = self.config.training, self.config.seed
        # A wrong number of processes is an error before any work.
        own_rows(settings.identities * settings.instances, settings.virtual_batch)
        self.restore(distributed.from_main(checkpoints.load, self.device))
        numbers = range(len(self.history), settings.epochs)
        with checkpoints.on_signals():
            for number in progress(numbers, f"{self.config.method} seed {seed}: epochs"):
                checkpoints.stop_if_asked(number)
                for group in self.optimizer.param_groups:
                    group["lr"] = learning_rate(settings, number)
                began = time.process_time()
                epoch = self.start_epoch(number)
                self.run_steps(epoch, checkpoints)
                row = epoch.finish(self.parsed) | {"learning_rate": group["lr"]}
                self.history.append(row | {"cpu_seconds": time.process_time() - began})
                checkpoints.save(self.state())
                if self.folder is not None and distributed.is_main():
                    write_history(self.history, self.folder / "history.csv")
                    if self.events is not None:
                        self.events.write(self.history)
                    logger.info(describe_epoch(self.history, settings))

    def state(self) -> dict[str, Any]:
        """All that a training needs to resume after an epoch.

        Raises:
            ScwmError: a weight is not finite, so that the state is not worth keeping.
        """
        self.network.check_finite(f"Diverged in epoch {len(self.history)}")
        return {
            "model": self.network.state_dict(),
            "average": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "part_labels": self.part_labels,
            "slots": self.slots,
            "limit": self.reliability and self.reliability.limit,
            "refinement": self.refinement and self.refinement.state_dict(),
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Take up a state; start where it is None."""
        if state is None:
            start_neck(self.config, self.network, self.images)
            return
        self.network.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = state["history"]
        self.part_labels, self.slots = (
            None if state[name] is None else state[name].to(self.device)
            for name in ("part_labels", "slots")
        )
        if self.reliability:
            self.reliability.limit = state["limit"]
        if self.refinement:
            self.refinement.load_state_dict(state["refinement"])

    def start_epoch(self, number: int) -> Epoch:
        """Compute features, pseudo labels, part labels and memories of an epoch, from 0.

        All processes compute the features. The first process computes the rest, because different
        labels would separate the processes.
        """
        start = time.perf_counter()
        embedding = self.embedding(number)
        labels, self.part_labels, (whole, parts), (agreement, proxies), means, row = (
            distributed.from_main(lambda: self.label(embedding, number, start), self.device)
        )
        if self.refinement is not None:
            self.refinement.start(number, whole, parts, agreement, proxies)
        objective = Objective(self.config, labels, whole, parts, self.refinement, number)
        monitor = StepMonitor(objective, means, labels, self.split)
        return Epoch(self.config, number, labels, objective, monitor, row)

    def embedding(self, number: int) -> Embedding:
        """Features of the training images at the start of an epoch, with what else it needs.

        A global memory of images holds the global features of the last epoch. They are not computed
        again.
        """
        if self.slots is not None and not self.network.parts:
            return Embedding(self.slots)
        every = self.config.parsing.every
        starts = number == 0 and self.network.parts > 0
        again = self.parsed and number > 0 and every > 0 and number % every == 0
        network, batch = self.model if number else self.network, self.config.evaluation.batch
        found = embed(network, self.images, batch, self.precision, starts or again)
        return found if self.slots is None else replace(found, global_feature=self.slots)

    def label(self, embedding: Embedding, number: int, start: float) -> tuple[Any, ...]:
        """Compute classes and part labels of an epoch, and means of their features.

        Returns also the agreement of the parts and the cameras' proxies, the means of the true
        identities, and the first cells of the epoch's row. The time of prototypes, agreement and
        proxies counts as that of the pseudo labels.

        Args:
            embedding: features of the training images, with pixel features to find part labels.
            number: number of the epoch.
            start: time at which the features were requested, of `perf_counter`.
        """
        clock = [start, time.perf_counter()]
        if number == 0 and embedding.pixels is not None:
            self.part_labels, embedding = start_parts(
                self.config, self.network, embedding, self.split.ids
            )
        clock.append(time.perf_counter())
        ids = self.split.ids
        labels = label_images(self.config, embedding, ids, reliability=self.reliability)
        clock.append(time.perf_counter())
        row: dict[str, Any] = label_scores(labels.cpu().numpy(), ids)
        if number > 0 and embedding.pixels is not None:
            self.part_labels = parse_images(self.config, embedding, labels, number)
        masks, predicted = self.split.masks, embedding.part_labels
        if masks is not None and self.part_labels is not None and predicted is not None:
            row |= training_scores(masks, self.part_labels, predicted)
        clock.append(time.perf_counter())
        classes = trained_classes(self.config, labels)
        prototypes = start_prototypes(self.config, embedding, classes)
        features, agreement, proxies = embedding.part_features, None, None
        if features is not None and (count := self.config.refinement.neighbours):
            agreement = agreement_scores(embedding.global_feature, features, count)
            if self.config.refinement.cameras:
                proxies = camera_proxies(embedding, classes, self.split.cameras)
        means = identity_means(embedding, ids)
        clock.append(time.perf_counter())
        stages = ("features", "parsing", "pseudo_labels", "parsing", "pseudo_labels")
        for stage, (begin, end) in zip(stages, pairwise(clock), strict=True):
            row[f"seconds_{stage}"] = row.get(f"seconds_{stage}", 0.0) + end - begin
        return classes, self.part_labels, prototypes, (agreement, proxies), means, row

    def run_steps(self, epoch: Epoch, checkpoints: Checkpoints | None = None) -> None:
        """The optimiser steps of an epoch.

        Raises:
            Interrupted: a signal asked to stop.
        """
        self.network.train()
        settings, (height, width) = self.config.training, self.split.images.shape[1:3]
        objective, title = epoch.objective, f"epoch {epoch.number + 1}: steps"
        batches = progress(epoch.batches(self.split.cameras), title, settings.iterations)
        steps = ((rows, own_rows(len(rows), settings.virtual_batch)) for rows in batches)
        for (rows, own), images in self.images.along(steps, lambda step: step[0][step[1]]):
            if checkpoints is not None:
                checkpoints.stop_if_asked(epoch.number)
            index = torch.from_numpy(rows).to(self.device, non_blocking=True)
            draws = self.augment.draw(len(rows), height, width, epoch.draws)
            part_labels = None if self.part_labels is None else self.part_labels[index[own]]
            images, part_labels = self.augment.apply(images, part_labels, draws[own])
            output = self.forward(images)
            part_labels = None if part_labels is None else distributed.gather(part_labels)
            losses = objective.losses(output, part_labels, index)
            self.optimizer.zero_grad()
            with tensor_float32(self.device, self.precision == "tf32"):
                losses[0].backward()
            self.optimizer.step()
            self.average.update(self.network)
            epoch.monitor.add(output, index)
            objective.update(output, index)
            epoch.losses.append(losses.detach())
        self.slots = objective.slots

    def forward(self, images: Tensor) -> Output:
        """Compute the network's output of the whole batch, from this process's images (B,3,H,W).

        With several processes the output has no pixel features, which no loss needs.
        """
        with autocast(self.device, self.precision):
            output: Output = self.parallel(images)
        if distributed.count() == 1:
            return output
        gather = distributed.gather
        whole: list[Any] = [f if f is None else gather(f) for f in output._replace(pixels=None)]
        return Output(*whole)


def train(
    config: Config,
    split: StoreSplit,
    weights: dict[str, Tensor] | None,
    run: Path,
    checkpoints: Checkpoints,
    events: EventFiles | None = None,
) -> None:
    """Train a run and write its model.pt and history.csv; resumes from a checkpoint.

    The checkpoint stays, so that whoever writes the run's record removes it last.

    Controls that are not trained get a model of their untrained network and an empty history.

    Args:
        events: TensorBoard's event files to write, too.
    """
    deterministic = config.training.deterministic and default_device().type == "cuda"
    torch.use_deterministic_algorithms(deterministic)
    network = build_network(config, weights)
    history: list[dict[str, Any]] = []
    if config.kind == "trained":
        trainer = Trainer(config, network, split, run, events)
        trainer.run(checkpoints)
        config, network, history = trainer.config, trainer.model, trainer.history
    if not distributed.is_main():
        return
    write_history(history, run / "history.csv")
    values = {name: value.cpu() for name, value in network.state_dict().items()}
    save_atomically({"config": plain(config), "model": values}, run / "model.pt")

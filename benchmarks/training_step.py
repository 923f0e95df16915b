"""The training step of `scwm`; the reference is that of `global_only`.

Whole steps of `scwm.training.trainer.Trainer` at the settings of config/config.yaml (48 images a
batch) and config/market1501_small.yaml (64): batch, augmentation, forward, losses, backward,
optimiser, running average, monitor and memories. The learning rate is 0, so that both see the same
global features, and their global losses must agree.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.harness import Stage
from scwm.core.allocator import keep_freed_memory
from scwm.core.config import changed, resolve_config
from scwm.core.yaml_files import CONFIG_DIR, read_yaml
from scwm.data.store import StoreSplit
from scwm.evaluation.monitor import StepMonitor
from scwm.method.objective import LOSSES, Objective
from scwm.models.embedding import Embedding
from scwm.training.epoch import Epoch
from scwm.training.trainer import Trainer, build_network

IMAGES, IDENTITIES, STEPS = 1280, 80, 8

Data = dict[str, tuple[Trainer, Epoch]]


def inputs(batch: int) -> Data:
    """Of each method a trainer that has made a step, and an epoch to come."""
    keep_freed_memory()
    settings = read_yaml(CONFIG_DIR / "market1501_small.yaml")["settings"]
    settings["training"] |= {"identities": batch // 4, "learning_rate": 0}
    return {method: prepared(method, settings) for method in ("scwm", "global_only")}


def prepared(
    method: str, settings: dict[str, Any], images: int = IMAGES, count: int = STEPS
) -> tuple[Trainer, Epoch]:
    """A trainer on random images that has made a step, and an epoch of `count` steps to come."""
    config = resolve_config(method, "none", 0, settings)
    network = build_network(config, None)
    chance, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    height, width = config.model.image_size
    pixels = chance.integers(0, 256, (images, height, width, 3), dtype=np.uint8)
    ids = np.arange(images) % IDENTITIES
    split = StoreSplit(pixels, ids, ids, [str(i) for i in range(images)])
    trainer = Trainer(config, network, split)
    config = trainer.config
    labels = torch.from_numpy(ids).to(trainer.device)

    def unit(*shape: int) -> torch.Tensor:
        return F.normalize(torch.randn(*shape, generator=generator), dim=-1).to(trainer.device)

    embedding = Embedding(unit(images, network.backbone.channels[-1]))
    if network.parts:
        parts = unit(images, network.parts, config.model.part_channels)
        seen = torch.rand(parts.shape[:2], generator=generator).to(trainer.device)
        embedding = Embedding(embedding.global_feature, parts, seen)
        masks = network(trainer.augment.normalise(trainer.images[slice(2)])).masks
        assert masks is not None
        cells = torch.randint(masks.shape[1], (images, *masks.shape[2:]), generator=generator)
        trainer.part_labels = cells.to(trainer.device, torch.uint8)
    objective = Objective.of(config, embedding, labels)
    monitor = StepMonitor.of(objective, embedding, labels, split)
    trainer.config = changed(config, {"training": {"iterations": 1}})
    trainer.run_steps(Epoch(trainer.config, 0, labels, objective, monitor, {}))
    trainer.config = changed(config, {"training": {"iterations": count}})
    return trainer, Epoch(trainer.config, 1, labels, objective, monitor, {})


def ours(data: Data) -> float:
    """Global loss over STEPS steps of `scwm`."""
    return steps(*data["scwm"])


def reference(data: Data) -> float:
    """The same of `global_only`."""
    return steps(*data["global_only"])


def steps(trainer: Trainer, epoch: Epoch) -> float:
    """The mean global loss of the steps; reading it waits for the device."""
    trainer.run_steps(epoch)
    return float(torch.stack(epoch.losses)[:, LOSSES.index("loss_global")].mean())


def agreement(ours: float, reference: float) -> dict[str, float]:
    """The relative difference of the global losses."""
    return {"global_loss_error": abs(ours - reference) / abs(reference)}


STAGES = (
    Stage(
        name="training_step",
        unit="images a batch",
        sizes=(48, 64),
        reference_sizes=(48, 64),
        tiny=8,
        inputs=inputs,
        ours=ours,
        reference=reference,
        agreement=agreement,
        tolerance={"global_loss_error": 1e-4},
        repeats=3,
    ),
)

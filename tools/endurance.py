"""Train a tiny network for very many iterations and watch the memory of the process.

    python tools/endurance.py [--epochs 125] [--iterations 400]

Everything but the backbone is what a real run uses: sampler, augmentation, memories, losses,
optimiser, running average, monitor, pseudo labels and part labels again in every epoch, and
its checkpoint. Exit status 1 if the memory grows over the last half of the run.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import torch
from torch import nn

from scwm.core.allocator import keep_freed_memory
from scwm.core.config import resolve_config
from scwm.data.store import StoreSplit
from scwm.models.backbone import Backbone
from scwm.models.backbones import mobilenet_v2
from scwm.training.checkpoint import Checkpoints
from scwm.training.trainer import Trainer, build_network

IDENTITIES, IMAGES, SIZE = 12, 8, (64, 32)
GROWTH_MB = 4.0  # that noise of the allocator may reach
EPOCHS = 16  # at least


def tiny_backbone() -> Backbone:
    """Four small stages with the strides of the real backbones."""
    channels, strides = [8, 8, 16, 16], [4, 8, 16, 16]
    inputs, steps = [3, *channels[:-1]], [4, 2, 2, 1]
    stages: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(i, o, 3, s, 1), nn.ReLU())
        for i, o, s in zip(inputs, channels, steps, strict=True)
    ]
    return Backbone(stages, channels, strides)


def people() -> StoreSplit:
    """Images of two-coloured figures on grey, with masks."""
    chance = np.random.default_rng(0)
    ids = np.repeat(np.arange(IDENTITIES), IMAGES)
    masks = np.zeros((len(ids), *SIZE), np.uint8)
    masks[:, 6:30, 8:24], masks[:, 30:58, 10:22] = 1, 2
    colours = np.concatenate(
        [np.full((IDENTITIES, 1, 3), 120), chance.integers(0, 256, (12, 2, 3))], 1
    )
    images = colours[ids[:, None, None], masks] + chance.normal(0, 8, (*masks.shape, 3))
    cameras = np.arange(len(ids)) % 3
    paths = [f"{number}.png" for number in range(len(ids))]
    return StoreSplit(images.clip(0, 255).astype(np.uint8), ids, cameras, paths, masks)


class Watched(Checkpoints):
    """Checkpoints that note the process's memory at the end of each epoch."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {})
        self.resident_mb: list[float] = []

    def save(self, state: Any) -> None:
        super().save(state)
        self.resident_mb.append(psutil.Process().memory_info().rss / 2**20)


def main() -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=125)
    parser.add_argument("--iterations", type=int, default=400)
    options = parser.parse_args()
    if options.epochs < EPOCHS:
        parser.error(f"--epochs: from {EPOCHS}, or there are too few to compare")
    torch.set_num_threads(1)
    keep_freed_memory()
    settings = {
        "model": {
            "backbone": "mobilenet_v2",
            "weights": "none",
            "image_size": list(SIZE),
            "part_channels": 16,
            "parts": 2,
        },
        "pseudo_labels": {"k1": 8, "k2": 3, "eps": 0.6, "min_samples": 2},
        "parsing": {"every": 1},
        "training": {
            "epochs": options.epochs,
            "iterations": options.iterations,
            "identities": 4,
            "instances": 2,
            "average": 0.8,
        },
    }
    config = resolve_config("scwm", "people", 0, settings)
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(mobilenet_v2, "build", tiny_backbone),
    ):
        checkpoints = Watched(Path(folder))
        Trainer(config, build_network(config, None), people()).run(checkpoints)
    resident = checkpoints.resident_mb
    for epoch in np.linspace(0, len(resident) - 1, 11).astype(int):
        print(f"{(epoch + 1) * options.iterations:>7,} iterations: {resident[epoch]:7.1f} MB")
    half = np.array(resident[len(resident) // 2 :])
    growth = half[-len(half) // 4 :].mean() - half[: len(half) // 4].mean()
    print(f"{len(resident)} checkpoints; growth over the last half: {growth:+.2f} MB")
    return int(growth > GROWTH_MB)


if __name__ == "__main__":
    sys.exit(main())

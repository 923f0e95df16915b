"""What a network starts from before the first step, next to pretrained weights (ours)."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from scwm.core.device import autocast, tensor_float32
from scwm.core.seeding import numpy_generator
from scwm.core.settings import Config
from scwm.data.augment import Augment
from scwm.method.labelling import label_images, parse_images
from scwm.method.parsing.discriminant import LinearDiscriminant
from scwm.models import Network, Output, PartHead
from scwm.models.batch_norm import calibrating, group_size
from scwm.models.embedding import Embedding, ImageBatches, collect

NECK_IMAGES = 1024  # at most, from which the global neck's statistics start


@torch.no_grad()
def start_neck(config: Config, network: Network, images: ImageBatches) -> None:
    """Start the global neck's running statistics from training images.

    The first pseudo labels and memory then hold the features that the first steps see.
    """
    rows = numpy_generator(config.seed, "neck").permutation(len(images))[:NECK_IMAGES]
    normalise = Augment().normalise
    network.eval()
    with calibrating(network.neck):
        size = group_size(len(rows), config.evaluation.batch)
        for group in np.split(rows, range(size, len(rows), size)):
            with autocast(images.device, config.training.precision):
                network(normalise(images[group]))


@torch.no_grad()
def start_parts(
    config: Config, network: Network, embedding: Embedding, ids: np.ndarray
) -> tuple[Tensor | None, Embedding]:
    """Start the part classifier and the part necks, and compute part features.

    The classifier starts from the parts found within clusters of the global feature, and the
    running statistics of the part necks from the part features.

    Args:
        config: of the run.
        network: changed in place.
        embedding: features of the N training images, with pixel features.
        ids: (N,) true identities, as for `label_images`.

    Returns:
        part labels (N,h,w), None without a part classifier; and the embedding with part features.
    """
    pixels, whole, labels = embedding.pixels, embedding.global_feature, None
    assert pixels is not None
    if isinstance(network.head, PartHead):
        groups = label_images(config, embedding, ids, "global")
        labels = parse_images(config, embedding, groups, 0)
        with tensor_float32(whole.device, False):
            found = LinearDiscriminant(pixels).fit(labels, network.parts + 1)
        network.head.start_from(*found)
    count = len(whole)
    step = group_size(count, config.evaluation.batch)

    def read(order: Tensor) -> Iterator[Output]:
        for rows in order.split(step):
            yield network.part_branch(whole[rows], pixels[rows].float())

    # Neighbours in the data set show the same person, which no batch of training does.
    mixed = torch.from_numpy(numpy_generator(config.seed, "part necks").permutation(count))
    with calibrating(*network.part_necks):
        for _ in read(mixed.to(whole.device)):
            pass
    return labels, replace(collect(read(torch.arange(count, device=whole.device))), pixels=pixels)

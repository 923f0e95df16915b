"""Features without training, which a trained method has to surpass."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scwm.core.progress import progress
from scwm.core.seeding import torch_generator

STRIPES, BINS, CHUNK = 6, 8, 256


def random_features(count: int, seed: int, split: str, dimensions: int = 256) -> Tensor:
    """Draw (count, dimensions) unit vectors uniformly, for retrieval by chance."""
    draw = torch.randn(count, dimensions, generator=torch_generator(seed, split))
    return F.normalize(draw, dim=1)


def colour_histogram(images: np.ndarray) -> Tensor:
    """Compute square roots of RGB histograms (8 bins per channel) of six horizontal stripes.

    The inner product of two such vectors is the mean Bhattacharyya coefficient of their
    histograms.

    Args:
        images: (N,H,W,3) uint8.

    Returns:
        (N, 6·3·8) float32, unit rows.
    """
    height = images.shape[1]
    edges = [height * s // STRIPES for s in range(STRIPES + 1)]
    features = []
    for start in progress(range(0, len(images), CHUNK), "colour histograms"):
        bins = torch.from_numpy(np.array(images[start : start + CHUNK])).long() * BINS // 256
        counts = [
            F.one_hot(bins[:, top:bottom].flatten(1, 2), BINS).sum(1).flatten(1)
            for top, bottom in itertools.pairwise(edges)
        ]
        features.append(F.normalize(torch.cat(counts, 1).float().sqrt(), dim=1))
    return torch.cat(features)

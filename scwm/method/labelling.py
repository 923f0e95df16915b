"""Labels of the training images from a network's features: pseudo identities and part labels."""

import numpy as np
import torch
from torch import Tensor

from scwm.core.config import Config
from scwm.core.errors import ScwmError
from scwm.core.seeding import derived_seed
from scwm.method.parsing import cascaded_clustering
from scwm.method.pseudo_labels import pseudo_labels
from scwm.models.embedding import Embedding


def label_images(
    config: Config, embedding: Embedding, ids: np.ndarray, feature: str | None = None
) -> Tensor:
    """Pseudo identity of each image, (N,) on the embedding's device, -1 = unclustered.

    Args:
        config: of the run.
        embedding: of N images.
        ids: (N,) true identities, which only the control ``pseudo_labels.source: truth`` reads.
        feature: what is clustered; default the config's. A model without parts has the global one.

    Raises:
        ScwmError: fewer than two clusters.
    """
    settings = config["pseudo_labels"]
    if settings["source"] == "truth":
        found = np.unique(ids, return_inverse=True)[1]
    else:
        features = embedding.features()
        found = pseudo_labels(
            features.get(feature or settings["feature"], features["global"]),
            *(settings[key] for key in ("eps", "min_samples", "k1", "k2")),
        )
    labels = torch.as_tensor(found).to(embedding.global_feature.device)
    if int(labels.max()) < 1:
        raise ScwmError(
            f"{int(labels.max()) + 1} cluster(s) in {len(labels)} images: nothing to learn.",
            "pseudo_labels.eps, pseudo_labels.min_samples",
            "lower eps when all images fall into one cluster, raise it when all are left out",
        )
    return labels


def parse_images(config: Config, embedding: Embedding, labels: Tensor, epoch: int) -> Tensor:
    """Part labels (N,h,w) by cascaded clustering within the pseudo identities.

    Args:
        config: of the run.
        embedding: of N images, with pixel features.
        labels: (N,) pseudo identities; each unclustered image (-1) is a group of its own.
        epoch: decides the seed of the clustering.
    """
    assert embedding.pixels is not None
    settings, alone = config["parsing"], labels < 0
    return cascaded_clustering(
        embedding.pixels,
        labels.masked_scatter(alone, labels.max() + alone.cumsum(0)[alone]),
        config["model"]["parts"],
        settings["foreground_correction"],
        settings["space_correction"],
        derived_seed(config["seed"], "clustering", epoch),
    )

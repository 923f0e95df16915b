"""Labels of training images from features of a network: pseudo identities and part labels."""

import numpy as np
import torch
from torch import Tensor

from scwm.core.errors import ScwmError
from scwm.core.seeding import derived_seed
from scwm.core.settings import Config, PseudoLabelSettings
from scwm.data.labels import labelled
from scwm.method.parsing import cascaded_clustering
from scwm.method.pseudo_labels import pseudo_labels
from scwm.method.pseudo_labels.numbers import own_classes
from scwm.method.pseudo_labels.reliability import Reliability
from scwm.models.embedding import Embedding


def label_images(
    config: Config,
    embedding: Embedding,
    ids: np.ndarray,
    feature: str | None = None,
    reliability: Reliability | None = None,
) -> Tensor:
    """Cluster images into pseudo identities, (N,) on the embedding's device, -1 = unclustered.

    Args:
        config: config of the run.
        embedding: features of N images.
        ids: (N,) true identities, which only the control ``pseudo_labels.source: truth`` reads.
        feature: name of the clustered feature; default: the config's. A model without parts has
            only the global feature.
        reliability: the criterion of earlier epochs; None: the config's, at its start.

    Raises:
        ScwmError: fewer than two clusters, or the control's identities are unknown.
    """
    settings = config.pseudo_labels
    if settings.source == "truth" and not labelled(ids):
        raise ScwmError(
            "The images have no identities, which this method trains with.",
            "pseudo_labels.source",
            "train another method, or supply identities",
        )
    if settings.source == "truth":
        found = np.unique(ids, return_inverse=True)[1]
    else:
        features = embedding.features()
        chosen = features.get(feature or settings.feature, features["global"])
        found = cluster_images(settings, chosen, reliability)
    labels = torch.as_tensor(found).to(embedding.global_feature.device)
    if int(trained_classes(config, labels).max()) < 1:
        raise ScwmError(
            f"{int(labels.max()) + 1} cluster(s) in {len(labels)} images: nothing to learn.",
            "pseudo_labels.eps, pseudo_labels.min_samples",
            "lower eps if all images are in one cluster, raise it if all are unclustered",
        )
    return labels


def cluster_images(
    settings: PseudoLabelSettings, features: Tensor, reliability: Reliability | None = None
) -> np.ndarray:
    """Cluster images by their features (N,D), by the settings `pseudo_labels`.

    An image whose feature is zero, because it shows no part, stays unclustered.

    Args:
        reliability: the criterion of earlier epochs; None: that of the settings, at its start.

    Returns:
        (N,) int64, clusters from 0, -1 = unclustered.
    """
    shown = features.ne(0).any(1).cpu()
    found = np.full(len(features), -1)
    if reliability is None and settings.eps_gap:
        reliability = Reliability(settings.eps_gap)
    if shown.sum() > 1:
        found[shown.numpy()] = pseudo_labels(
            features if shown.all() else features[shown.to(features.device)],
            *(settings.eps, settings.min_samples, settings.k1, settings.k2),
            settings.clustering,
            reliability=reliability,
        )
    return found


def trained_classes(config: Config, labels: Tensor) -> Tensor:
    """Classes (N,) that an epoch trains on, -1 = left out, from pseudo identities (N,)."""
    return _own_classes(labels) if config.pseudo_labels.unclustered == "own_class" else labels


def parse_images(config: Config, embedding: Embedding, labels: Tensor, epoch: int) -> Tensor:
    """Compute part labels (N,h,w) by cascaded clustering within the pseudo identities.

    Args:
        config: config of the run.
        embedding: features of N images, with pixel features.
        labels: (N,) pseudo identities; each unclustered image (-1) is a group of its own.
        epoch: determines the seed of the clustering.
    """
    assert embedding.pixels is not None
    settings = config.parsing
    return cascaded_clustering(
        embedding.pixels,
        _own_classes(labels),
        config.model.parts,
        settings.foreground_correction,
        settings.space_correction,
        derived_seed(config.seed, "clustering", epoch),
    )


def _own_classes(labels: Tensor) -> Tensor:
    return torch.as_tensor(own_classes(labels.cpu().numpy())).to(labels.device)

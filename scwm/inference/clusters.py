"""Identities of the user's unlabelled crops, by the clustering of training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from scwm.core.errors import ScwmError
from scwm.core.files import write_text
from scwm.core.settings import Config
from scwm.inference.features import CropFeatures
from scwm.method.labelling import cluster_images

# A neighbour list holds at most the eighth part of the crops, or ten. Of five kinds of folders of
# 40 to 212 crops of Market-1501 this agreed best with the identities in four, among a fourth to a
# sixteenth; with four crops each of 40 people shorter lists did.
SHARE, LEAST = 8, 10


@dataclass(frozen=True, eq=False)
class Clusters:
    """N crops and their identities.

    Attributes:
        files: N image files.
        labels: (N,) from 0, -1 = unclustered.
        settings: the settings, in words, and what to change where people are mixed.
        message: why these are not the settings asked for; "" if they are.
    """

    files: Sequence[Path]
    labels: np.ndarray
    settings: str = ""
    message: str = ""

    @property
    def count(self) -> int:
        """The number of identities."""
        return len(np.unique(self.labels[self.labels >= 0]))


def cluster_crops(found: CropFeatures, config: Config) -> Clusters:
    """Cluster crops as training images are clustered in the first epoch.

    The neighbour lists shrink with the folder, so that they do not hold most of it.

    Raises:
        ScwmError: there are fewer than two crops.
    """
    count = len(found.files)
    if count < 2:
        raise ScwmError("One crop cannot be clustered.", found.files[0], "give more of them")
    settings = config.pseudo_labels
    most = min(count, max(LEAST, count // SHARE))
    wanted = settings.k1, settings.k2
    used = min(settings.k1, most), min(settings.k2, max(1, most // 3))
    message = ""
    if used != wanted:
        message = f"{count} crops are few for k1 = {wanted[0]}, k2 = {wanted[1]}"
    words = (
        f"eps = {settings.eps:g}, k1 = {used[0]}, k2 = {used[1]}; where people are mixed, lower "
        "--eps, or give --k1 the crops of one person"
    )
    chosen = settings.model_copy(update={"k1": used[0], "k2": used[1]})
    labels = cluster_images(chosen, torch.from_numpy(found.features))
    return Clusters(found.files, labels, words, message)


def write_clusters(clusters: Clusters, path: Path) -> None:
    """Write a CSV of file and identity, -1 = unclustered."""
    table = pd.DataFrame({"file": clusters.files, "identity": clusters.labels})
    write_text(table.to_csv(index=False), path)

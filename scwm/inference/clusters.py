"""Identities of the user's unlabelled crops, by the clustering of training."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scwm.core.errors import ScwmError
from scwm.core.files import whole_file
from scwm.core.settings import Config
from scwm.inference.features import CropFeatures
from scwm.method.pseudo_labels import pseudo_labels

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
        message: changes of the settings; "" for none.
    """

    files: Sequence[Path]
    labels: np.ndarray
    message: str = ""

    @property
    def count(self) -> int:
        """The number of identities."""
        return len(np.unique(self.labels[self.labels >= 0]))


def cluster_crops(
    found: CropFeatures,
    config: Config,
    eps: float | None = None,
    min_samples: int | None = None,
    k1: int | None = None,
    k2: int | None = None,
) -> Clusters:
    """Cluster crops by `scwm.pseudo_labels.pseudo_labels`.

    A setting of None means the setting of the model's training. The neighbour lists shrink with
    the folder, so that they do not hold most of it.

    Raises:
        ScwmError: there are fewer than two crops, or a number is out of range.
    """
    count = len(found.files)
    if count < 2:
        raise ScwmError("One crop cannot be clustered.", found.files[0], "give more of them")
    own = config.pseudo_labels
    wanted = own.k1 if k1 is None else k1, own.k2 if k2 is None else k2
    most = min(count, max(LEAST, count // SHARE))
    used = min(wanted[0], most), min(wanted[1], max(1, most // 3))
    message = ""
    if used != wanted:
        message = (
            f"{count} crops are few for k1 = {wanted[0]}, k2 = {wanted[1]}: "
            f"k1 = {used[0]}, k2 = {used[1]} are used"
        )
    labels = pseudo_labels(
        found.features,
        own.eps if eps is None else eps,
        own.min_samples if min_samples is None else min_samples,
        *used,
    )
    return Clusters(found.files, labels, message)


def write_clusters(clusters: Clusters, path: Path) -> None:
    """Write a CSV of file and identity, -1 = unclustered."""
    with whole_file(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "identity"])
        writer.writerows(zip(clusters.files, clusters.labels.tolist(), strict=True))

"""The self-paced reliability criterion of SpCL (Ge et al., NeurIPS 2020)."""

from dataclasses import dataclass

import numpy as np

from scwm.method.pseudo_labels.numbers import number_clusters, own_classes

RELIABLE_SHARE = 0.9  # about this share of the clusters of the first epoch reaches the limit


@dataclass
class Reliability:
    """A criterion that splits unreliable clusters, by clusterings of a smaller and a larger radius.

    Let A, T and L be the images that share a cluster with image i at the radii eps, eps - gap and
    eps + gap; an unclustered image is by itself. Then::

        R_comp(i)  = |A ∩ T| / |A ∪ T|     compactness: a smaller radius keeps the cluster
        R_indep(i) = |A ∩ L| / |A ∪ L|     independence: a larger radius adds no images

    A cluster stays if the largest R_indep of its images reaches `limit`. In it those images stay
    whose R_comp is the largest of the cluster. All others become unclustered.

    Attributes:
        gap: difference of the radii.
        limit: least independence of a cluster. None: the next labels set it, so that about nine
            tenths of their clusters reach it.
    """

    gap: float
    limit: float | None = None

    def split(self, labels: np.ndarray, tight: np.ndarray, loose: np.ndarray) -> np.ndarray:
        """Keep the reliable images of reliable clusters.

        Args:
            labels: (N,) clusters at eps from 0, -1 = unclustered.
            tight, loose: the same at the smaller and at the larger radius.

        Returns:
            (N,) int64, clusters of at least two images from 0, -1 = unclustered.
        """
        classes, tight, loose = map(own_classes, (labels, tight, loose))
        compactness, independence = overlap(classes, tight), overlap(classes, loose)
        whole = _largest(independence, classes)
        if self.limit is None:
            clusters = np.sort(whole[np.bincount(classes) > 1])[::-1]
            place = min(len(clusters) - 1, round(len(clusters) * RELIABLE_SHARE))
            self.limit = float(clusters[place]) if len(clusters) else None
        kept = compactness >= _largest(compactness, classes)[classes]
        if self.limit is not None:
            kept &= whole[classes] >= self.limit
        return number_clusters(own_classes(np.where(kept, classes, -1)), smallest=2)


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Divide common by joint images of each image's two classes, |A ∩ B| / |A ∪ B|.

    Args:
        one, other: (N,) classes from 0.

    Returns:
        (N,) above 0, at most 1.
    """
    pairs = one * (other.max() + 1) + other
    _, pair, count = np.unique(pairs, return_inverse=True, return_counts=True)
    common = count[pair]
    joint = np.bincount(one)[one] + np.bincount(other)[other] - common
    shares: np.ndarray = common / joint
    return shares


def _largest(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the largest value (M,) of each class."""
    largest = np.zeros(classes.max() + 1)
    np.maximum.at(largest, classes, values)
    return largest

"""Pseudo identities: nearest neighbours, k-reciprocal Jaccard distance, clustering."""

from scwm.method.pseudo_labels.jaccard import jaccard_distance
from scwm.method.pseudo_labels.labels import pseudo_labels
from scwm.method.pseudo_labels.neighbours import nearest_neighbours

__all__ = ["jaccard_distance", "nearest_neighbours", "pseudo_labels"]

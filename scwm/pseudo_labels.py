"""A short name for pseudo identities: `scwm.method.pseudo_labels`."""

from scwm.method.pseudo_labels import dbscan, jaccard_distance, nearest_neighbours, pseudo_labels

__all__ = ["dbscan", "jaccard_distance", "nearest_neighbours", "pseudo_labels"]

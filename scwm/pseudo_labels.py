"""A short name for pseudo identities: `scwm.method.pseudo_labels`."""

from scwm.method.pseudo_labels import jaccard_distance, nearest_neighbours, pseudo_labels

__all__ = ["jaccard_distance", "nearest_neighbours", "pseudo_labels"]

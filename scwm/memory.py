"""A short name for the weighted memory: `scwm.method.memory`."""

from scwm.method.memory import WeightedMemory, cluster_means

__all__ = ["WeightedMemory", "cluster_means"]

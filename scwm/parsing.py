"""A short name for cascaded clustering: `scwm.method.parsing`."""

from scwm.method.parsing import activation, cascaded_clustering, cluster_parts, keep_body, two_means

__all__ = ["activation", "cascaded_clustering", "cluster_parts", "keep_body", "two_means"]

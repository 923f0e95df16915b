"""Part labels from pixel features: foreground, parts, and their cascade."""

from scwm.method.parsing.cascade import cascaded_clustering
from scwm.method.parsing.foreground import activation, keep_body, middle, two_means
from scwm.method.parsing.parts import cluster_parts

__all__ = [
    "activation",
    "cascaded_clustering",
    "cluster_parts",
    "keep_body",
    "middle",
    "two_means",
]

"""Part labels from pixel features: foreground, parts, and the cascade of both."""

from scwm.parsing.cascade import cascaded_clustering
from scwm.parsing.foreground import activation, keep_body, two_means
from scwm.parsing.parts import cluster_parts

__all__ = [
    "activation",
    "cascaded_clustering",
    "cluster_parts",
    "keep_body",
    "two_means",
]

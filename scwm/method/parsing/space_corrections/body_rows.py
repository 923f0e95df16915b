"""K-means with an additional term for the row inside the person's own extent (formula ours)."""

from torch import Tensor

from scwm.method.parsing import parts
from scwm.method.parsing.pixels import Pixels

WEIGHT = 0.5


def cluster_parts(pixels: Pixels, foreground: Tensor, groups: Tensor, count: int) -> Tensor:
    """Split the foreground into parts by `parts.cluster_parts` with the spatial term.

    Args:
        pixels: features of N images.
        foreground: (N,H,W) bool.
        groups: (N,) integers 0..G-1.
        count: K, the number of parts.

    Returns:
        (N,H,W) uint8, 0 = background, 1..K from top to bottom.
    """
    return parts.cluster_parts(pixels, foreground, groups, count, WEIGHT)

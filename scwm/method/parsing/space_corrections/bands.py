"""Equal bands of each person's own extent, the fair rival of a space correction (ours).

Where a cell lies decides its part, what it looks like does not.
"""

import torch
from torch import Tensor

from scwm.method.parsing.parts import equal_bands, rows_in_body
from scwm.method.parsing.pixels import Pixels


def cluster_parts(pixels: Pixels, foreground: Tensor, groups: Tensor, count: int) -> Tensor:
    """Split the rows between a person's top and bottom into `count` bands of equal height.

    Args:
        pixels: features of N images, which are not read.
        foreground: (N,H,W) bool.
        groups: (N,) integers, which are not read.
        count: K, the number of parts.

    Returns:
        (N,H,W) uint8, 0 = background, 1..K from top to bottom.
    """
    band = equal_bands(rows_in_body(foreground), count) + 1
    return (band[:, :, None] * foreground).to(torch.uint8)

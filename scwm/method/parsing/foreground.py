"""The foreground: 2-means on activations (ISP, Zhu et al., ECCV 2020), connected bodies (ours)."""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from scwm.method.parsing.pixels import Pixels, as_pixels

SMALLEST = 0.15  # share of an image's foreground that a component needs to stay


def activation(maps: Tensor | Pixels) -> Tensor:
    """Divide each pixel feature's norm by its image's largest: (N,C,H,W) -> (N,H,W) in [0,1]."""
    pixels = as_pixels(maps)
    largest = pixels.norm.amax(1, keepdim=True).clamp(min=1e-12)
    return (pixels.norm / largest).view(pixels.shape)


def two_means(values: Tensor, groups: Tensor) -> Tensor:
    """Compute the exact 2-means of each group's scalars (ISP's first step, Zhu et al., ECCV 2020).

    In one dimension a threshold separates the best two clusters. So the function tries all
    thresholds of a group at once on its sorted values, without a start and without iterations.

    Args:
        values: (N,H,W), float32 or float64.
        groups: (N,) integers 0..G-1.

    Returns:
        (N,H,W) bool, the cluster with the higher mean; a group of equal values is all False.
    """
    known, owner = values.cpu().numpy(), groups.cpu().numpy()
    stops = np.cumsum(np.bincount(owner))[:-1]
    members = np.split(np.argsort(owner, kind="stable"), stops)
    thresholds = np.array([_best_threshold(known[images]) for images in members], known.dtype)
    return values > torch.from_numpy(thresholds).to(values.device)[groups][:, None, None]


def _best_threshold(values: np.ndarray) -> float:
    """Return the largest value of the lower cluster, for least squares within both clusters."""
    ranked = np.sort(values, axis=None)
    low_sum = np.cumsum(ranked, dtype=np.float64)
    low = np.arange(1, len(ranked))
    # Least squares within = most between: sum of (cluster sum)² / (cluster size).
    between = low_sum[:-1] ** 2 / low + (low_sum[-1:] - low_sum[:-1]) ** 2 / (len(ranked) - low)
    between[ranked[1:] == ranked[:-1]] = -1
    best = int(between.argmax()) if len(low) else -1
    return ranked[best] if best >= 0 and between[best] >= 0 else np.inf


def keep_body(foreground: Tensor) -> Tensor:
    """Drop islands and fill holes of a foreground (N,H,W) bool.

    The result keeps 8-connected components of at least SMALLEST of the image's foreground. Holes
    are background cells without a 4-connected path to the border.
    """
    mask = foreground.cpu().numpy()
    labels, count = ndimage.label(mask, _neighbours(8))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    kept = mask & (sizes[labels] >= SMALLEST * mask.sum((1, 2), keepdims=True))
    whole = ndimage.binary_fill_holes(kept, _neighbours(4))
    return torch.from_numpy(whole).to(foreground.device)


def middle(grid: Tensor) -> Tensor:
    """Mark the middle half of the columns of (H,W) without the outermost sixteenth of the rows."""
    height, width = grid.shape
    row, column = (torch.arange(n, device=grid.device) for n in (height, width))
    margin = max(height // 16, 1)
    rows = (row >= margin) & (row < height - margin)
    columns = (column >= width // 4) & (column < width - width // 4)
    return rows[:, None] & columns


def _neighbours(count: int) -> np.ndarray:
    """Return the structure of connected cells in the same image, for stacks of images."""
    structure = np.zeros((3, 3, 3), dtype=bool)
    structure[1] = ndimage.generate_binary_structure(2, 2 if count == 8 else 1)
    return structure

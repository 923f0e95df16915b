"""Which pixels show the person: ISP's 2-means on activations, and the foreground correction."""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from scwm.parsing.discriminant import LinearDiscriminant
from scwm.parsing.pixels import Pixels, as_pixels

FIT_PIXELS = 2**19  # with half of them 0.5 % of Market-1501's pixels change sides


def activation(maps: Tensor | Pixels) -> Tensor:
    """Norm of each pixel feature over its image's largest: (N,C,H,W) -> (N,H,W) in [0,1]."""
    pixels = as_pixels(maps)
    largest = pixels.norm.amax(1, keepdim=True).clamp(min=1e-12)
    return (pixels.norm / largest).view(pixels.shape)


def two_means(values: Tensor, groups: Tensor) -> Tensor:
    """The exact 2-means of each group's scalars (ISP's first step, Zhu et al., ECCV 2020).

    In one dimension the best two clusters are split by a threshold, so all thresholds of a group
    are tried at once on its sorted values; no start, no iterations.

    Args:
        values: (N,H,W), any scalars.
        groups: (N,) integers 0..G-1.

    Returns:
        (N,H,W) bool, the cluster of the higher mean; a group of equal values is all False.
    """
    known, owner = values.cpu().numpy(), groups.cpu().numpy()
    stops = np.cumsum(np.bincount(owner))[:-1]
    members = np.split(np.argsort(owner, kind="stable"), stops)
    thresholds = np.array([_best_threshold(known[images]) for images in members], known.dtype)
    return values > torch.from_numpy(thresholds).to(values.device)[groups][:, None, None]


def _best_threshold(values: np.ndarray) -> float:
    """The largest value of the lower of the two clusters of least squares within."""
    ranked = np.sort(values, axis=None)
    low_sum = np.cumsum(ranked, dtype=np.float64)
    low = np.arange(1, len(ranked))
    # Least squares within = most between: sum of (cluster sum)² / (cluster size).
    between = low_sum[:-1] ** 2 / low + (low_sum[-1:] - low_sum[:-1]) ** 2 / (len(ranked) - low)
    between[ranked[1:] == ranked[:-1]] = -1
    best = int(between.argmax()) if len(low) else -1
    return ranked[best] if best >= 0 and between[best] >= 0 else np.inf


def correct_foreground(
    maps: Tensor | Pixels,
    foreground: Tensor,
    rounds: int = 5,
    prior_weight: float = 0.5,
    halo: float = 0.3,
) -> Tensor:
    """Re-decide each pixel by log-odds of its feature and of its place (formula ours).

    The activation misses body regions that the backbone does not respond to, image by image. What
    the body looks like is the same all over the data set, so noisy labels of pixels are taken to
    fit a linear discriminant between the directions of foreground and background features, whose
    log-odds ``l(f)`` hold for every pixel alike. First, two kinds of evidence add up: ``l`` fitted
    to the given foreground, and ``l`` fitted to the middle of the image against its margin, as
    boxes are drawn around people; it is the feature that is judged, not the place, so it holds on
    shifted boxes too. Then for `rounds` rounds ``l`` is fitted anew to the outcome and joined with
    the place's own odds, ``o = l(f) + prior_weight · logit(share of images that are foreground
    there)``. Deep features are blurred, so the cells around a body look like body, only less: after
    two rounds a foreground cell needs `halo` times the median of the positive odds. Last comes
    `keep_body`. All of it is fitted to at most FIT_PIXELS pixels, drawn evenly, always the same
    ones; what they say is then asked of every pixel.

    Args:
        maps: (N,C,H,W) pixel features.
        foreground: (N,H,W) bool, a first decision.

    Returns:
        (N,H,W) bool. Where a decision has no foreground or no background at all, the first one.
    """
    index = _spread_out(foreground.numel(), FIT_PIXELS).to(foreground.device)
    cell, given = index % foreground[0].numel(), foreground.flatten()[index]
    if not _mixed(given):
        return foreground
    # Of directions: the norm is the activation itself, which would only be repeated.
    pixels = as_pixels(maps)
    sample = pixels.pick(index)
    discriminant = LinearDiscriminant(sample)
    by_foreground = discriminant.direction(given)
    by_place = discriminant.direction(_middle(foreground[0]).flatten()[cell])
    weights, bias = (a + b for a, b in zip(by_foreground, by_place, strict=True))
    place, least = torch.zeros_like(foreground[0], dtype=torch.float32), torch.zeros_like(bias)
    decided = sample.products(weights).flatten() + bias > least
    for number in range(rounds):
        if not _mixed(decided):
            return foreground
        share = _share(decided, cell, foreground[0])
        share = ((share + share.flip(1)) / 2).clamp(0.02, 0.98)  # people walk both ways
        place = prior_weight * torch.logit(share)
        weights, bias = discriminant.direction(decided)
        odds = sample.products(weights).flatten() + bias + place.flatten()[cell]
        decided, least = odds > 0, torch.zeros_like(bias)
        if number >= 2 and _mixed(decided):
            least = halo * odds[decided].median()
            decided = odds > least
    decided = pixels.products(weights) + bias + place > least
    return keep_body(decided) if _mixed(decided) else foreground


def _spread_out(count: int, wanted: int) -> Tensor:
    """About `wanted` of `count` indices, in order, one drawn from each stretch of equal length;
    always the same ones, and all where there are not more."""
    if count <= wanted:
        return torch.arange(count)
    draw = torch.rand(wanted, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return ((torch.arange(wanted) + draw) * (count / wanted)).long().clamp(max=count - 1)


def _share(decided: Tensor, cell: Tensor, grid: Tensor) -> Tensor:
    """Share of the pixels (m,) at each cell of an image that are decided on, shaped as `grid`."""
    seen = torch.bincount(cell, minlength=grid.numel()).clamp(min=1)
    return (torch.bincount(cell[decided], minlength=grid.numel()) / seen).view_as(grid)


def _mixed(foreground: Tensor) -> bool:
    return 0 < int(foreground.sum()) < foreground.numel()


def _middle(grid: Tensor) -> Tensor:
    """The middle half of the columns without the outermost sixteenth of the rows, of (H,W)."""
    height, width = grid.shape
    row, column = (torch.arange(n, device=grid.device) for n in (height, width))
    margin = max(height // 16, 1)
    rows = (row >= margin) & (row < height - margin)
    columns = (column >= width // 4) & (column < width - width // 4)
    return rows[:, None] & columns


def keep_body(foreground: Tensor, smallest: float = 0.15) -> Tensor:
    """Drop islands and fill holes: (N,H,W) bool -> the same.

    Kept are 8-connected components of at least `smallest` of the image's foreground; holes are
    background cells that no 4-connected way joins to the border.
    """
    mask = foreground.cpu().numpy()
    labels, count = ndimage.label(mask, _neighbours(8))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    kept = mask & (sizes[labels] >= smallest * mask.sum((1, 2), keepdims=True))
    labels, count = ndimage.label(~kept, _neighbours(4))
    hole = np.ones(count + 1, dtype=bool)
    for border in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        hole[border] = False
    return torch.from_numpy(kept | hole[labels]).to(foreground.device)


def _neighbours(count: int) -> np.ndarray:
    """Structure of cells joined in the same image, for stacks of images."""
    structure = np.zeros((3, 3, 3), dtype=bool)
    structure[1] = ndimage.generate_binary_structure(2, 2 if count == 8 else 1)
    return structure

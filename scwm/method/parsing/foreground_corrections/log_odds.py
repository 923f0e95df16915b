"""Log-odds of each pixel's feature and place, and what hangs together with the body."""

import torch
from torch import Tensor

from scwm.method.parsing.discriminant import LinearDiscriminant
from scwm.method.parsing.foreground import keep_body
from scwm.method.parsing.pixels import Pixels, as_pixels

FIT_PIXELS = 2**19  # with half of them 0.5 % of Market-1501's pixels change sides


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
    shifted boxes too. Then for `rounds` rounds ``l`` is fitted again to the outcome and joined with
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

"""Log-odds of each pixel's feature and place, and connected bodies."""

import torch
from torch import Tensor

from scwm.method.parsing.discriminant import LinearDiscriminant
from scwm.method.parsing.foreground import keep_body, middle
from scwm.method.parsing.pixels import Pixels, as_pixels

FIT_PIXELS = 2**19  # with half of them 0.5 % of Market-1501's pixels change sides
ROUNDS = 5
PRIOR_WEIGHT = 0.5  # of the place
HALO = 0.3  # of the median of the positive odds


def correct_foreground(maps: Tensor | Pixels, foreground: Tensor) -> Tensor:
    """Decide each pixel again by log-odds of its feature and of its place (formula ours).

    The activation misses body regions to which the backbone does not respond in an image. Bodies
    look alike over the whole data set. So noisy pixel labels fit a linear discriminant between the
    directions of foreground and background features, with log-odds ``l(f)`` for every pixel.

    First, the function adds two kinds of evidence: ``l`` fitted to the given foreground, and ``l``
    fitted to the middle of the image against its margin, because boxes are drawn around people. The
    discriminant judges the feature, not the place, so it also works on shifted boxes. Then, for
    ROUNDS rounds, it fits ``l`` again to the result and adds the odds of the place, ``o = l(f) +
    PRIOR_WEIGHT · logit(share of images with foreground there)``. Deep features are blurred, so the
    cells around a body resemble the body: after two rounds a foreground cell needs HALO times the
    median of the positive odds. `keep_body` is the last step. All fits use at most FIT_PIXELS
    pixels, drawn evenly and the same in every call; the decision covers every pixel.

    Args:
        maps: (N,C,H,W) pixel features.
        foreground: (N,H,W) bool, a first decision.

    Returns:
        (N,H,W) bool; the first decision if a later one has no foreground or no background.
    """
    index = _spread_out(foreground.numel(), FIT_PIXELS).to(foreground.device)
    cell, given = index % foreground[0].numel(), foreground.flatten()[index]
    if not _mixed(given):
        return foreground
    # Only directions: the norm is the activation itself and would add nothing.
    pixels = as_pixels(maps)
    sample = pixels.pick(index)
    discriminant = LinearDiscriminant(sample)
    by_foreground = discriminant.direction(given)
    by_place = discriminant.direction(middle(foreground[0]).flatten()[cell])
    weights, bias = (a + b for a, b in zip(by_foreground, by_place, strict=True))
    place, least = torch.zeros_like(foreground[0], dtype=torch.float32), torch.zeros_like(bias)
    decided = sample.products(weights).flatten() + bias > least
    for number in range(ROUNDS):
        if not _mixed(decided):
            return foreground
        share = _share(decided, cell, foreground[0])
        share = ((share + share.flip(1)) / 2).clamp(0.02, 0.98)  # people walk both ways
        place = PRIOR_WEIGHT * torch.logit(share)
        weights, bias = discriminant.direction(decided)
        odds = sample.products(weights).flatten() + bias + place.flatten()[cell]
        decided, least = odds > 0, torch.zeros_like(bias)
        if number >= 2 and _mixed(decided):
            least = HALO * odds[decided].median()
            decided = odds > least
    decided = pixels.products(weights) + bias + place > least
    return keep_body(decided) if _mixed(decided) else foreground


def _spread_out(count: int, wanted: int) -> Tensor:
    """Draw about `wanted` of `count` indices in order, one from each interval of equal length.

    The draw is the same in every call; it returns all indices if there are not more.
    """
    if count <= wanted:
        return torch.arange(count)
    draw = torch.rand(wanted, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return ((torch.arange(wanted) + draw) * (count / wanted)).long().clamp(max=count - 1)


def _share(decided: Tensor, cell: Tensor, grid: Tensor) -> Tensor:
    """Compute the share of foreground among the pixels (m,) at each cell, with shape `grid`."""
    seen = torch.bincount(cell, minlength=grid.numel()).clamp(min=1)
    return (torch.bincount(cell[decided], minlength=grid.numel()) / seen).view_as(grid)


def _mixed(foreground: Tensor) -> bool:
    return 0 < int(foreground.sum()) < foreground.numel()

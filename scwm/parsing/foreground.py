"""Which pixels show the person: ISP's 2-means on activations, and the foreground correction."""

import torch
import torch.nn.functional as F
from torch import Tensor

from scwm.parsing.discriminant import LinearDiscriminant


def activation(maps: Tensor) -> Tensor:
    """Norm of each pixel feature over its image's largest: (N,C,H,W) -> (N,H,W) in [0,1]."""
    norm = maps.float().norm(dim=1)
    return norm / norm.amax((1, 2), keepdim=True).clamp(min=1e-12)


def two_means(values: Tensor, groups: Tensor) -> Tensor:
    """The exact 2-means of each group's scalars (ISP's first step, Zhu et al., ECCV 2020).

    In one dimension the best two clusters are split by a threshold, so all thresholds of all
    groups are tried at once on the sorted values; no start, no iterations.

    Args:
        values: (N,H,W), any scalars.
        groups: (N,) integers 0..G-1.

    Returns:
        (N,H,W) bool, the cluster of the higher mean; a group of equal values is all False.
    """
    flat = values.flatten().double()
    group = groups.repeat_interleave(values[0].numel())
    order = torch.argsort(flat, stable=True)
    order = order[torch.argsort(group[order], stable=True)]
    flat, group = flat[order], group[order]

    count = torch.bincount(group)
    start = torch.cumsum(count, 0) - count
    total = torch.zeros_like(count, dtype=flat.dtype).index_add_(0, group, flat)
    running = torch.cumsum(flat, 0)
    low_sum = running - (running - flat)[start][group]
    low = torch.arange(1, len(flat) + 1, device=flat.device) - start[group]
    high = (count[group] - low).clamp(min=1)
    # Least squares within = most between: sum of (cluster sum)² / (cluster size).
    between = low_sum**2 / low + (total[group] - low_sum) ** 2 / high
    follows = torch.cat([(flat[1:] > flat[:-1]) & (group[1:] == group[:-1]), flat.new_zeros(1) > 0])
    between = between.masked_fill(~follows, -1)
    best = torch.full_like(total, -1).scatter_reduce_(0, group, between, "amax")
    is_best = follows & (between == best[group])
    threshold = torch.full_like(total, torch.inf)
    threshold.scatter_reduce_(0, group[is_best], flat[is_best], "amin")
    return values.double() > threshold[groups][:, None, None]


def correct_foreground(
    maps: Tensor, foreground: Tensor, rounds: int = 5, prior_weight: float = 0.5, halo: float = 0.3
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
    `keep_body`.

    Args:
        maps: (N,C,H,W) pixel features.
        foreground: (N,H,W) bool, a first decision.

    Returns:
        (N,H,W) bool. Where a decision has no foreground or no background at all, the first one.
    """
    if not _mixed(foreground):
        return foreground
    # Of directions: the norm is the activation itself, which would only be repeated.
    discriminant = LinearDiscriminant(F.normalize(maps.float(), dim=1))
    decided = discriminant.log_odds(foreground) + discriminant.log_odds(_middle(foreground)) > 0
    for number in range(rounds):
        if not _mixed(decided):
            return foreground
        share = decided.float().mean(0)
        place = ((share + share.flip(1)) / 2).clamp(0.02, 0.98)  # people walk both ways
        odds = discriminant.log_odds(decided) + prior_weight * torch.logit(place)
        decided = odds > 0
        if number >= 2 and _mixed(decided):
            decided = odds > halo * odds[decided].median()
    return keep_body(decided) if _mixed(decided) else foreground


def _mixed(foreground: Tensor) -> bool:
    return 0 < int(foreground.sum()) < foreground.numel()


def _middle(foreground: Tensor) -> Tensor:
    """The middle half of the columns without the outermost sixteenth of the rows, as (N,H,W)."""
    height, width = foreground.shape[1:]
    row, column = (torch.arange(n, device=foreground.device) for n in (height, width))
    margin = max(height // 16, 1)
    rows = (row >= margin) & (row < height - margin)
    columns = (column >= width // 4) & (column < width - width // 4)
    return (rows[:, None] & columns).expand_as(foreground)


def keep_body(foreground: Tensor, smallest: float = 0.15) -> Tensor:
    """Drop islands and fill holes: (N,H,W) bool -> the same.

    Kept are 8-connected components of at least `smallest` of the image's foreground; holes are
    background cells that no 4-connected way joins to the border.
    """
    labels = _components(foreground)
    sizes = torch.zeros_like(labels).scatter_add_(1, labels, foreground.flatten(1).long())
    enough = sizes.gather(1, labels) >= smallest * foreground.flatten(1).sum(1, keepdim=True)
    kept = foreground & enough.view(foreground.shape)
    outside = F.pad(~kept, (1, 1, 1, 1), value=True)
    reached = torch.zeros_like(outside)
    reached[:, 0] = True
    cross = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]], device=kept.device)[None, None]
    while True:
        grown = F.conv2d(reached[:, None].float(), cross, padding=1)[:, 0] > 0
        grown &= outside
        if torch.equal(grown, reached):
            return ~reached[:, 1:-1, 1:-1]
        reached = grown


def _components(mask: Tensor) -> Tensor:
    """(N,H,W) bool -> (N,H·W): the largest cell index of each cell's 8-connected component."""
    index = torch.arange(mask[0].numel(), device=mask.device, dtype=torch.float32)
    labels = torch.where(mask, index.view(mask[0].shape) + 1, 0.0)
    while True:
        spread = torch.where(mask, F.max_pool2d(labels[:, None], 3, 1, 1)[:, 0], 0.0)
        if torch.equal(spread, labels):
            return (labels.flatten(1).long() - 1).clamp(min=0)
        labels = spread

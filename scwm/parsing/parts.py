"""The foreground's pixels into K parts: ISP's k-means, and k-means with the space correction."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cluster_parts(
    maps: Tensor,
    foreground: Tensor,
    groups: Tensor,
    parts: int,
    space_weight: float = 0.0,
    iterations: int = 20,
    seed: int = 0,
) -> Tensor:
    """K-means of each group's unit foreground pixels into parts, ordered from top to bottom.

    Without the space correction (`space_weight` 0) this is ISP's second step (Zhu et al., ECCV
    2020): K-means from random pixels, clusters ordered by their mean row. It gives one label to
    look-alike pixels far apart, black hair and black shoes. The space correction (formula ours)
    starts from K equal bands of the person's own vertical extent and minimises::

        ||f - c_k||² + space_weight · ((row - mu_k) / sigma_k)² + space_weight · log sigma_k²

    with rows from 0 (the person's top) to 1 (bottom) and the part's mean row mu_k and deviation
    sigma_k over all groups, taken anew at each step, so that a part is one region of the body and
    the same region for every identity; the last term is the Gaussian's own normalisation.
    All groups are one batched computation.

    Args:
        maps: (N,C,H,W) pixel features.
        foreground: (N,H,W) bool.
        groups: (N,) integers 0..G-1.
        parts: K.

    Returns:
        (N,H,W) uint8, 0 = background, 1..K. A part that a group does not need stays empty.
    """
    pixels = F.normalize(maps.flatten(2).float(), dim=1)
    inside = foreground.flatten(1)
    rows = _body_rows(foreground)
    count = int(groups.max()) + 1
    if space_weight:
        labels = (rows * parts).long().clamp(max=parts - 1)
    else:
        labels = _nearest_to_random_pixels(pixels, inside, groups, parts, count, seed)
    for _ in range(iterations):
        members = F.one_hot(labels, parts).transpose(1, 2).to(pixels) * inside[:, None]
        centroids, sizes = _centroids(pixels, members, groups, count)
        cost = centroids.pow(2).sum(2)[groups, :, None] - 2 * torch.bmm(centroids[groups], pixels)
        if space_weight:
            mass = members.sum((0, 2)).clamp(min=1)
            mean = (members * rows[:, None]).sum((0, 2)) / mass
            spread = (members * (rows[:, None] - mean[:, None]) ** 2).sum((0, 2)) / mass
            spread = spread.clamp(min=0.05**2)[:, None]
            distance = (rows[:, None] - mean[:, None]) ** 2 / spread + spread.log()
            cost = cost + space_weight * distance
        # An empty cluster attracts nothing, rather than giving NaN.
        cost = cost.masked_fill((sizes == 0)[groups, :, None], torch.inf)
        new = cost.argmin(1)
        if torch.equal(new[inside], labels[inside]):
            break
        labels = new
    members = F.one_hot(labels, parts).transpose(1, 2).to(pixels) * inside[:, None]
    # With the space correction a part is the same region in all groups, so they share one order.
    shared = torch.zeros_like(groups) if space_weight else groups
    order = _order_by_row(members, shared, count, foreground.shape[2])
    ranked = order[shared].gather(1, labels) + 1
    return (ranked * inside).to(torch.uint8).view(foreground.shape)


def _body_rows(foreground: Tensor) -> Tensor:
    """Row of each pixel inside its person's own extent, (N,H·W), 0 at the top and 1 below."""
    height, width = foreground.shape[1:]
    row = torch.arange(height, device=foreground.device, dtype=torch.float32)
    used = foreground.any(2)
    top = torch.where(used, row, height).amin(1, keepdim=True)
    bottom = torch.where(used, row, -1.0).amax(1, keepdim=True)
    relative = (row - top + 0.5) / (bottom - top + 1).clamp(min=1)
    return relative.clamp(0, 1).repeat_interleave(width, 1)


def _nearest_to_random_pixels(
    pixels: Tensor,
    inside: Tensor,
    groups: Tensor,
    parts: int,
    count: int,
    seed: int,
) -> Tensor:
    """Labels (N,H·W) from `parts` distinct foreground pixels of each group drawn at random."""
    device = pixels.device
    draw = torch.rand(inside.shape, generator=torch.Generator().manual_seed(seed)).to(device)
    draw = draw.masked_fill(~inside, -1).flatten()
    owner = groups.repeat_interleave(inside.shape[1])
    order = torch.argsort(draw, descending=True, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]
    size = torch.bincount(owner, minlength=count)
    start = torch.cumsum(size, 0) - size
    first = start[:, None] + torch.arange(parts, device=device)
    chosen = order[first.clamp(max=len(order) - 1)]
    centroids = pixels.transpose(1, 2).flatten(0, 1)[chosen]
    own = owner[chosen] == torch.arange(count, device=device)[:, None]
    usable = own & (draw[chosen] >= 0)
    cost = -torch.bmm(centroids[groups], pixels)
    return cost.masked_fill(~usable[groups, :, None], torch.inf).argmin(1)


def _centroids(
    pixels: Tensor, members: Tensor, groups: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Mean pixel (G,K,C) and size (G,K) of each group's clusters."""
    shape = (count, members.shape[1])
    sums = torch.bmm(members, pixels.transpose(1, 2))
    total = pixels.new_zeros(*shape, pixels.shape[1]).index_add_(0, groups, sums)
    sizes = pixels.new_zeros(shape).index_add_(0, groups, members.sum(2))
    return total / sizes.clamp(min=1)[:, :, None], sizes


def _order_by_row(members: Tensor, groups: Tensor, count: int, width: int) -> Tensor:
    """Rank (G,K) of each group's clusters by mean row; empty ones keep to the end."""
    row = torch.arange(members.shape[2], device=members.device) // width
    shape = (count, members.shape[1])
    total = members.new_zeros(shape).index_add_(0, groups, (members * row).sum(2))
    size = members.new_zeros(shape).index_add_(0, groups, members.sum(2))
    mean = torch.where(size > 0, total / size.clamp(min=1), torch.inf)
    return mean.argsort(dim=1, stable=True).argsort(dim=1)

"""Parts of the foreground by K-means (ISP, Zhu et al., ECCV 2020), and space correction (ours)."""

import torch
from torch import Tensor

from scwm.method.parsing.pixels import Pixels, as_pixels


def cluster_parts(
    maps: Tensor | Pixels,
    foreground: Tensor,
    groups: Tensor,
    parts: int,
    space_weight: float = 0.0,
    iterations: int = 20,
    seed: int = 0,
) -> Tensor:
    """Split each group's unit foreground pixels into parts by K-means, ordered from top to bottom.

    Without the space correction (`space_weight` 0) this is ISP's second step (Zhu et al., ECCV
    2020): K-means from random pixels, with clusters ordered by their mean row. It gives one label
    to similar pixels far apart, such as black hair and black shoes. The space correction (formula
    ours) starts from K equal bands of the person's own vertical extent and minimises::

        ||f - c_k||² + space_weight · ((row - mu_k) / sigma_k)² + space_weight · log sigma_k²

    with rows from 0 (the person's top) to 1 (bottom) and the part's mean row mu_k and deviation
    sigma_k over all groups, computed again at each step, so that a part is one region of the body
    and the same region for every identity; the last term is the Gaussian's own normalisation.
    Lloyd's steps stop when no label changes.

    Args:
        maps: (N,C,H,W) pixel features.
        foreground: (N,H,W) bool.
        groups: (N,) integers 0..G-1.
        parts: K.

    Returns:
        (N,H,W) uint8, 0 = background, 1..K. A part that a group does not need stays empty.
    """
    pixels, rows, count = as_pixels(maps), rows_in_body(foreground), int(groups.max()) + 1
    if space_weight:
        centroids, offsets = _in_bands(pixels, rows, count, parts)
    else:
        centroids, offsets = _random_pixels(pixels, foreground, groups, count, parts, seed)
    labels = None
    for _ in range(iterations + 1):
        found, members, sums = _assign(pixels, foreground, groups, centroids, offsets)
        if labels is not None and torch.equal(found, labels):
            break
        labels = found
        size = _of_groups(members.sum(2), groups, count)
        centroids = sums / size.clamp(min=1)[:, :, None]
        # An empty cluster attracts nothing, instead of producing NaN.
        offsets = centroids.pow(2).sum(2).masked_fill(size == 0, torch.inf)[groups][:, :, None]
        if space_weight:
            offsets = offsets + space_weight * _distances(members, rows)
    # With the space correction a part is the same region in all groups, so they share one order.
    owner, owners = (torch.zeros_like(groups), 1) if space_weight else (groups, count)
    return _ranked(found, members, owner, owners)


def _assign(
    pixels: Pixels, foreground: Tensor, groups: Tensor, centroids: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Assign each foreground pixel f to the cluster with the smallest offset - 2·f·c.

    Args:
        centroids: (G,K,C).
        offsets: (N,K,H), or (N,K,1) if they are the same in all rows.

    Returns:
        Labels (N,H,W) uint8 with K for the background, the number of each cluster's pixels in each
        row (N,K,H), and the sum of each cluster's features in each group (G,K,C).
    """
    count, height, width = foreground.shape
    parts = centroids.shape[1]
    inside = foreground.flatten(1)
    labels = torch.empty_like(inside, dtype=torch.uint8)
    members = offsets.new_empty(count, parts, height)
    sums = torch.zeros_like(centroids)
    index = torch.arange(parts, device=groups.device)[:, None]
    for part, features in pixels.chunks():
        owner, scale = groups[part], pixels.scale[part, None]
        products = torch.bmm(centroids[owner], features.mT).mul_(scale)
        cost = offsets[part, :, :, None] - 2 * products.unflatten(2, (height, width))
        nearest = cost.min(1).indices.flatten(1)  # argmin takes eight times as long
        labels[part] = nearest.where(inside[part], parts)
        own = (labels[part, None] == index).to(scale)
        members[part] = own.unflatten(2, (height, width)).sum(3)
        sums.index_add_(0, owner, torch.bmm(own.mul_(scale), features))
    return labels.view_as(foreground), members, sums


def _in_bands(pixels: Pixels, rows: Tensor, count: int, parts: int) -> tuple[Tensor, Tensor]:
    """Return centroids of zeros and offsets (N,K,H) that assign each row to one of K bands."""
    index = torch.arange(parts, device=rows.device)[:, None]
    centroids = rows.new_zeros(count, parts, pixels.features.shape[2])
    return centroids, (equal_bands(rows, parts)[:, None] != index).to(rows)


def _random_pixels(
    pixels: Pixels, foreground: Tensor, groups: Tensor, count: int, parts: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Draw K random foreground pixels of each group as centroids.

    Offsets (N,K,1) are infinite for the missing centroids of a group with fewer pixels.
    """
    draw = torch.rand(foreground.shape, generator=torch.Generator().manual_seed(seed))
    index = foreground.flatten().nonzero()[:, 0]
    owner = groups[index // foreground[0].numel()]
    order = draw.flatten().to(index.device)[index].argsort(descending=True, stable=True)
    order = order[owner[order].argsort(stable=True)]
    size = torch.bincount(owner, minlength=count)[:, None]
    wanted = torch.arange(parts, device=owner.device).expand(count, -1)
    first = (size.cumsum(0) - size + wanted)[wanted < size]
    chosen = pixels.take(index[order[first]])
    centroids = chosen.new_zeros(count, parts, chosen.shape[1])
    centroids[wanted < size] = chosen
    return centroids, torch.where(wanted < size, 0.0, torch.inf)[groups][:, :, None]


def _of_groups(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """Sum values over the images of each of G groups: (N,K) -> (G,K)."""
    return values.new_zeros(count, values.shape[1]).index_add_(0, groups, values)


def _distances(members: Tensor, rows: Tensor) -> Tensor:
    """Compute the space correction's ((row - mu_k) / sigma_k)² + log sigma_k², (N,K,H)."""
    mass, row = members.sum((0, 2)).clamp(min=1), rows[:, None]
    mean = (members * row).sum((0, 2)) / mass
    square = (row - mean[:, None]) ** 2
    spread = ((members * square).sum((0, 2)) / mass).clamp(min=0.05**2)[:, None]
    return square / spread + spread.log()


def _ranked(labels: Tensor, members: Tensor, owner: Tensor, count: int) -> Tensor:
    """Number clusters by their mean row over the images of the same one of `count` owners (N,).

    Returns:
        (N,H,W) uint8, 0 = background, otherwise 1 + the rank of the pixel's cluster.
    """
    row = torch.arange(members.shape[2], device=members.device)
    size = _of_groups(members.sum(2), owner, count)
    total = _of_groups((members * row).sum(2), owner, count)
    mean = torch.where(size > 0, total / size.clamp(min=1), torch.inf)  # empty ones come last
    rank = mean.argsort(dim=1, stable=True).argsort(dim=1).to(torch.uint8) + 1
    rank = torch.cat([rank, torch.zeros_like(rank[:, :1])], 1)[owner]
    return rank.gather(1, labels.flatten(1).long()).view_as(labels)


def rows_in_body(foreground: Tensor) -> Tensor:
    """Compute the place of each row inside the person's extent, (N,H), from 0 at the top to 1."""
    height = foreground.shape[1]
    row = torch.arange(height, device=foreground.device, dtype=torch.float32)
    used = foreground.any(2)
    top = torch.where(used, row, height).amin(1, keepdim=True)
    bottom = torch.where(used, row, -1.0).amax(1, keepdim=True)
    return ((row - top + 0.5) / (bottom - top + 1).clamp(min=1)).clamp(0, 1)


def equal_bands(rows: Tensor, count: int) -> Tensor:
    """Number the band of equal height, 0 to `count` - 1, of each row's place from 0 to 1."""
    return (rows * count).long().clamp(max=count - 1)

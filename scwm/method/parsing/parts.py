"""The foreground's pixels into K parts: K-means (ISP, Zhu et al., ECCV 2020), and that with the
space correction (formula ours)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from scwm.method.parsing.pixels import Pixels, as_pixels

ROUNDING = 1e-5  # of a cost, with room to spare
GROUPS_AT_ONCE = 8  # their centroids are one matrix: more of them, fewer calls and more operations


def cluster_parts(
    maps: Tensor | Pixels,
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
    sigma_k over all groups, taken again at each step, so that a part is one region of the body and
    the same region for every identity; the last term is the Gaussian's own normalisation.
    All groups are one batched computation, in which a step reads only the pixels whose label it
    may change (`_Partition`).

    Args:
        maps: (N,C,H,W) pixel features.
        foreground: (N,H,W) bool.
        groups: (N,) integers 0..G-1.
        parts: K.

    Returns:
        (N,H,W) uint8, 0 = background, 1..K. A part that a group does not need stays empty.
    """
    order = groups.argsort(stable=True)  # the images of a group one after the other
    partition = _Partition(as_pixels(maps).subset(order), foreground[order], groups[order], parts)
    if space_weight:
        partition.start((partition.rows * parts).long().clamp(max=parts - 1)[partition.line])
    else:
        draw = torch.rand(foreground.shape, generator=torch.Generator().manual_seed(seed))
        partition.start(partition.nearest_to_largest(draw.to(order.device)[order]))
    for _ in range(iterations):
        if not partition.step(space_weight):
            break
    # With the space correction a part is the same region in all groups, so they share one order.
    found = torch.empty(foreground.shape, dtype=torch.uint8, device=foreground.device)
    found[order] = partition.ranked(shared=space_weight > 0)
    return found


class _Partition:
    """The foreground's M pixels, in K clusters for each of G groups, and Lloyd's step on them.

    A line is a row of an image; there are L of them. The step is exact and reads few pixels. With
    unit features, cluster k can win a pixel from cluster b only where their other costs, the same
    all along a line, are at most 2·||c_k - c_b|| apart. And a pixel whose cluster won by a margin
    stays until the costs have moved as far, which is bounded by how far the centroids have.
    """

    def __init__(self, pixels: Pixels, foreground: Tensor, groups: Tensor, parts: int) -> None:
        self.pixels, self.foreground, self.parts = pixels, foreground, parts
        self.owner, self.count = groups, int(groups.max()) + 1
        self.where = foreground.flatten().nonzero()[:, 0]  # (M,)
        self.line = self.where // foreground.shape[2]  # (M,)
        self.group = groups.repeat_interleave(foreground.shape[1])  # (L,)
        self.rows = body_rows(foreground).flatten()  # (L,)

    def start(self, labels: Tensor) -> None:
        """Begin from the clusters `labels` (M,)."""
        self.labels = labels
        every = torch.full_like(self.foreground, self.parts, dtype=torch.uint8).flatten()
        every[self.where] = labels.to(torch.uint8)
        sums = self.pixels.sums(every.view(len(self.owner), -1), self.parts)
        shape = (self.count, *sums.shape[1:])
        self.sums = sums.new_zeros(shape).index_add_(0, self.owner, sums)  # (G,K,C)
        self.centroids = torch.zeros_like(self.sums)
        self.place = sums.new_zeros(len(self.group), self.parts)
        self.possible = torch.zeros_like(self.place, dtype=torch.bool)
        # How far the costs of a line's clusters have moved, and when a pixel is to be read again.
        self.moved = sums.new_zeros(len(self.group))
        self.until = sums.new_zeros(len(labels))

    def step(self, space_weight: float) -> bool:
        """One step for all groups; whether any label changed."""
        members = self.members()
        sizes = members.new_zeros(self.count, self.parts).index_add_(0, self.group, members)
        centroids = self.sums / sizes.clamp(min=1)[:, :, None]
        place = centroids.pow(2).sum(2)[self.group]
        if space_weight:
            place += space_weight * self.distances(members)
        # An empty cluster attracts nothing, rather than giving NaN.
        place.masked_fill_((sizes == 0)[self.group], torch.inf)
        first = place.argmin(1, keepdim=True)
        # Not by products, which lose the distance of near ones.
        apart = torch.cdist(centroids, centroids, compute_mode="donot_use_mm_for_euclid_dist")
        apart = apart[self.group, first[:, 0]]
        possible = place - place.gather(1, first) <= 2 * apart + ROUNDING

        shift = 2 * (centroids - self.centroids).norm(dim=2)[self.group]
        shift += (place - self.place).abs()
        self.moved += 2 * shift.masked_fill_(~possible, 0).amax(1)
        # Read every pixel of a line where another cluster has become possible or none other is,
        # none where all are in the only one possible, else those whose margin is used up.
        limit = self.moved + ROUNDING
        alone = possible.sum(1) == 1
        settled = members.gather(1, first)[:, 0] == members.sum(1)
        limit[(possible & ~self.possible).any(1) | alone] = torch.inf
        limit[alone & settled] = -torch.inf
        self.centroids, self.place, self.possible = centroids, place, possible

        changed = False
        for part, first_group, features, cost in self.read(self.until <= limit[self.line]):
            best, new = cost.min(1)
            second = cost.scatter(1, new[:, None], torch.inf).amin(1)
            line, old = self.line[part], self.labels[part]
            self.until[part] = second - best + self.moved[line]
            other = (new != old).nonzero()[:, 0]
            if len(other):
                base = (self.group[line[other]] - first_group) * self.parts
                left, joined = base + old[other], base + new[other]
                self._move(first_group, features.index_select(0, other), left, joined)
                self.labels[part] = new
                changed = True
        return changed

    def members(self) -> Tensor:
        """Number of pixels of each cluster in each line, (L,K)."""
        cell = self.line * self.parts + self.labels
        count = torch.bincount(cell, minlength=len(self.group) * self.parts)
        return count.view(-1, self.parts).to(self.rows)

    def distances(self, members: Tensor) -> Tensor:
        """The space correction's ((row - mu_k) / sigma_k)² + log sigma_k², (L,K)."""
        mass = members.sum(0).clamp(min=1)
        mean = (members * self.rows[:, None]).sum(0) / mass
        square = (self.rows[:, None] - mean) ** 2
        spread = ((members * square).sum(0) / mass).clamp(min=0.05**2)
        return square / spread + spread.log()

    def read(self, asked: Tensor) -> Iterator[tuple[Tensor, int, Tensor, Tensor]]:
        """Some at a time of the pixels where `asked` (M,): indices (m,), the first of their groups,
        features (m,C) and costs of all clusters of their group (m,K)."""
        index = asked.nonzero()[:, 0]
        blocks = self.group[self.line[index]] // GROUPS_AT_ONCE
        step = max(self.pixels.step // self.centroids.shape[2], 1)
        for block in index.split(blocks.unique_consecutive(return_counts=True)[1].tolist()):
            for part in block.split(step):
                line = self.line[part]
                group = self.group[line]
                start, stop = int(group[0]), int(group[-1]) + 1
                features = self.pixels.take(self.where[part])
                products = features @ self.centroids[start:stop].flatten(0, 1).T
                own = products.view(len(part), -1, self.parts)[
                    torch.arange(len(part), device=part.device), group - start
                ]
                yield part, start, features, self.place[line] - 2 * own

    def _move(self, first_group: int, features: Tensor, old: Tensor, new: Tensor) -> None:
        """Features (m,C) leave clusters `old` (m,) for `new`, counted from those of a group on."""
        number = torch.arange(len(features), device=features.device)
        members = features.new_zeros(int(torch.maximum(old, new).max()) + 1, len(features))
        members[old, number] = -1
        members[new, number] = 1
        flat = self.sums.flatten(0, 1)[first_group * self.parts :]
        flat[: len(members)].addmm_(members, features)

    def ranked(self, shared: bool) -> Tensor:
        """(N,H,W) uint8, 0 = background, else 1 + the rank of the pixel's cluster by mean row, in
        its group or in all groups together."""
        owner = torch.zeros_like(self.owner) if shared else self.owner
        members = self.members().view(*self.foreground.shape[:2], -1)
        row = torch.arange(members.shape[1], device=members.device)[:, None]
        size = members.new_zeros(self.count, self.parts).index_add_(0, owner, members.sum(1))
        total = torch.zeros_like(size).index_add_(0, owner, (members * row).sum(1))
        mean = torch.where(size > 0, total / size.clamp(min=1), torch.inf)  # empty ones come last
        rank = mean.argsort(dim=1, stable=True).argsort(dim=1).to(torch.uint8) + 1
        found = torch.zeros_like(self.foreground, dtype=torch.uint8)
        image = self.where // self.foreground[0].numel()
        found.view(-1)[self.where] = rank[owner[image], self.labels]
        return found

    def nearest_to_largest(self, draw: Tensor) -> Tensor:
        """Labels (M,) by the nearest of the K pixels of each group with the largest `draw`
        (N,H,W)."""
        owner = self.group[self.line]
        order = torch.argsort(draw[self.foreground], descending=True, stable=True)
        order = order[torch.argsort(owner[order], stable=True)]
        size = torch.bincount(owner, minlength=self.count)[:, None]
        wanted = torch.arange(self.parts, device=owner.device).expand(self.count, -1)
        first = (size.cumsum(0) - size + wanted)[wanted < size]
        chosen = self.pixels.take(self.where[order[first]])
        self.centroids = chosen.new_zeros(self.count, self.parts, chosen.shape[1])
        self.centroids[wanted < size] = chosen
        self.place = torch.where(wanted < size, 0.0, torch.inf)[self.group]
        labels = torch.empty_like(owner)
        for part, _, _, cost in self.read(torch.ones_like(owner, dtype=torch.bool)):
            labels[part] = cost.argmin(1)
        return labels


def body_rows(foreground: Tensor) -> Tensor:
    """Row of each line inside its person's own extent, (N,H), 0 at the top and 1 below."""
    height = foreground.shape[1]
    row = torch.arange(height, device=foreground.device, dtype=torch.float32)
    used = foreground.any(2)
    top = torch.where(used, row, height).amin(1, keepdim=True)
    bottom = torch.where(used, row, -1.0).amax(1, keepdim=True)
    return ((row - top + 0.5) / (bottom - top + 1).clamp(min=1)).clamp(0, 1)

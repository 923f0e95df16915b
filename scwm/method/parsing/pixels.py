"""Pixel features read in chunks, so that float32 copies stay small (ours)."""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

VALUES_AT_ONCE = {"cpu": 2**20, "cuda": 2**28}  # a CPU's chunk stays in its cache


class Pixels:
    """The features of all pixels of some images, as vectors of length 1 or unscaled.

    Sums and products over all pixels are computed chunk by chunk. The scale to length 1 is applied
    to their results, which are smaller than the features.

    Args:
        maps: (N,C,H,W) pixel features of any float type. Features with channels last in memory,
            the format of the network, are not copied.
        unit: whether each feature is scaled to length 1 (a feature of zeros stays).
    """

    def __init__(self, maps: Tensor, unit: bool = True) -> None:
        self.unit = unit
        cells = maps.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        self.features = cells.flatten(1, 2)
        self.shape = (len(maps), *maps.shape[2:])
        self.step = VALUES_AT_ONCE.get(maps.device.type, 2**20)

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of the images with their unscaled float32 features (n,H·W,C).

        The next chunk reuses the memory of a chunk.
        """
        step = min(max(self.step // max(self.features[:1].numel(), 1), 1), max(self.shape[0], 1))
        # New memory costs more time than the operations on it.
        buffer = self.features.new_empty(step, *self.features.shape[1:], dtype=torch.float32)
        for start in range(0, self.shape[0], step):
            part = slice(start, min(start + step, self.shape[0]))
            found = self.features[part]
            yield part, buffer[: len(found)].copy_(found)

    @cached_property
    def norm(self) -> Tensor:
        """Compute the length of each feature, (N,H·W)."""
        norm = self._empty()
        for part, features in self.chunks():
            torch.linalg.vector_norm(features, dim=2, out=norm[part])
        return norm

    @cached_property
    def scale(self) -> Tensor:
        """Compute the factor of each feature, (N,H·W)."""
        return 1 / self.norm.clamp(min=1e-12) if self.unit else torch.ones_like(self._empty())

    def products(self, weights: Tensor) -> Tensor:
        """Multiply each feature by `weights` (C,), as (N,H,W)."""
        products = self._empty()
        for part, features in self.chunks():
            torch.matmul(features, weights, out=products[part])
        return (products * self.scale).view(self.shape)

    def class_sums(self, labels: Tensor, classes: int) -> Tensor:
        """Sum the features of each class, (classes,C), for labels (N,H·W)."""
        sums = self.scale.new_zeros(classes, self.features.shape[2])
        index = torch.arange(classes, device=labels.device)[:, None]
        for part, features in self.chunks():
            members = (labels[part].flatten() == index) * self.scale[part].flatten()
            sums.addmm_(members, features.flatten(0, 1))
        return sums

    def scatter(self, centre: Tensor) -> Tensor:
        """Compute the mean outer product (C,C) of the features' differences from `centre` (C,)."""
        total = centre.new_zeros(len(centre), len(centre))
        for part, features in self.chunks():
            rows = features.mul_(self.scale[part, :, None]).sub_(centre).flatten(0, 1)
            total.addmm_(rows.T, rows)
        return total / max(self.scale.numel(), 1)

    def take(self, pixels: Tensor) -> Tensor:
        """Read scaled features (m,C) of the pixels with the given indices (m,) into (N,H·W)."""
        return self.features.flatten(0, 1)[pixels].float() * self.scale.flatten()[pixels, None]

    def pick(self, pixels: Tensor) -> "Pixels":
        """Select the pixels with the given indices (m,) into (N,H·W), as images of one pixel."""
        return Pixels(self.features.flatten(0, 1)[pixels, :, None, None], self.unit)

    def _empty(self) -> Tensor:
        return self.features.new_empty(self.features.shape[:2], dtype=torch.float32)


def as_pixels(maps: Tensor | Pixels) -> Pixels:
    """Wrap pixel features (N,C,H,W) as unit vectors, unless they are `Pixels`."""
    return maps if isinstance(maps, Pixels) else Pixels(maps)

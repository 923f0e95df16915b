"""Similarities of queries and gallery, chunk by chunk, without inadmissible images."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from scwm.core.errors import ScwmError
from scwm.core.progress import progress

Array = np.ndarray | Tensor

CHUNK_ELEMENTS = 1 << 23  # similarities in memory at once: 32 MiB in float32
GALLERY_BLOCK = 8192  # gallery rows converted to float64 at once


class RankSide:
    """Features (N,D) of query or gallery, checked; identities (N,) and cameras (N,) on the host."""

    def __init__(self, features: Array, ids: Array, cameras: Array, name: str) -> None:
        self.features = torch.as_tensor(features).detach()
        if not self.features.is_floating_point():
            self.features = self.features.double()
        self.ids = torch.as_tensor(ids, device="cpu").long()
        self.cameras = torch.as_tensor(cameras, device="cpu").long()
        self.rows = torch.arange(len(self.ids))
        shape = tuple(self.features.shape)
        if len(shape) != 2 or self.ids.shape != shape[:1] or self.cameras.shape != shape[:1]:
            raise ScwmError(
                "features (N,D), identities (N,) and cameras (N,) do not fit together",
                f"{name}: {shape}, {tuple(self.ids.shape)}, {tuple(self.cameras.shape)}",
            )
        self.name = name
        self.lengths = torch.linalg.vector_norm(self.features, dim=1)
        if not bool(torch.isfinite(self.lengths).all()):
            raise ScwmError("features hold infinities or NaN", name, "the training diverged")

    def of_persons(self) -> "RankSide":
        """Drop images of identity -1."""
        keep = self.ids != -1
        if not bool(keep.any()):
            raise ScwmError(
                "no image shows a known person",
                self.name,
                "give images of known identities; `scwm rank --names none` needs no identities",
            )
        if not bool(keep.all()):
            self.features = self.features[keep.to(self.features.device)]
            self.ids, self.cameras, self.rows = self.ids[keep], self.cameras[keep], self.rows[keep]
        return self


def similarity_chunks(
    query: RankSide, gallery: RankSide, chunk: int | None, precision: torch.dtype
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Yield chunks of queries with their similarities and matches.

    Each chunk is the index of its first query, similarities (q,G) with -inf for inadmissible
    images, and the row and column of each match, on the host.
    """
    if query.features.shape[1] != gallery.features.shape[1]:
        raise ScwmError(
            "query and gallery features differ in length",
            f"{query.features.shape[1]} and {gallery.features.shape[1]}",
        )
    by_id = gallery.ids.argsort(stable=True)
    sorted_ids = gallery.ids[by_id]
    chunk = chunk or max(1, CHUNK_ELEMENTS // len(gallery.ids))
    for start in progress(range(0, len(query.ids), chunk), "rank"):
        part = slice(start, start + chunk)
        similarities = products_of(query.features[part], gallery.features, precision)
        first, stop = (
            torch.searchsorted(sorted_ids, query.ids[part], right=right) for right in (False, True)
        )
        row, place = grouped(stop - first)
        column = by_id[first[row] + place]
        own = query.cameras[part][row] == gallery.cameras[column]
        left_out = (x[own].to(similarities.device) for x in (row, column))
        similarities[tuple(left_out)] = -torch.inf
        yield start, similarities, row[~own], column[~own]


def products_of(query: Tensor, gallery: Tensor, precision: torch.dtype) -> Tensor:
    """Compute inner products of all rows, (q,G), without a whole gallery in float64."""
    query = query.to(precision)
    products = query.new_empty(len(query), len(gallery))
    for first in range(0, len(gallery), GALLERY_BLOCK):
        block = slice(first, first + GALLERY_BLOCK)
        products[:, block] = query @ gallery[block].to(precision).T
    return products


def grouped(sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the group of each member of groups of these sizes, and its place in the group."""
    group = torch.repeat_interleave(sizes)
    return group, torch.arange(len(group), device=group.device) - (sizes.cumsum(0) - sizes)[group]

"""Pieces of a figure's surface: cut along a field, stood off the skin, closed at their edges."""

from dataclasses import dataclass

import numpy as np

V = 11
"""The column of a surface's table that holds v."""


@dataclass
class Surface:
    """A piece of the figure in its neutral pose.

    Attributes:
        table: (V, 12 + B) columns skin (3), cloth (3), outwards (3: normals of the cloth), chart
            (3: x and y from the axis of the tile, v upwards) and weights (B).
        faces: (F, 3), counter-clockwise from outside.
        tile, part: (F,) index into TILES, and the value in masks.
        points: (V, 3) place of the piece; the skin unless it was stood off.
    """

    table: np.ndarray
    faces: np.ndarray
    tile: np.ndarray
    part: np.ndarray
    points: np.ndarray

    @property
    def u(self) -> np.ndarray:
        """Direction (V,) around the axis of the tile, in turns: 0.25 = front, 0.75 = back."""
        turns: np.ndarray = np.arctan2(self.table[:, 10], self.table[:, 9]) / (2 * np.pi) % 1
        return turns

    @property
    def v(self) -> np.ndarray:
        """Height (V,) on the tile, upwards."""
        return self.table[:, V]

    @property
    def weights(self) -> np.ndarray:
        """Weight (V, B) of each bone in the motion of the vertex."""
        return self.table[:, V + 1 :]

    def only(self, mine: np.ndarray) -> "Surface":
        """Select the faces `mine` (F,) and their vertices."""
        faces = self.faces[mine]
        used = np.bincount(faces.ravel(), minlength=len(self.table)) > 0
        return Surface(
            self.table[used],
            (np.cumsum(used) - 1)[faces],
            self.tile[mine],
            self.part[mine],
            self.points[used],
        )


def welded(points: np.ndarray) -> np.ndarray:
    """Number vertices (V,), with equal numbers at exactly the same place."""
    x, y, z = points.T
    return np.unique(x + np.sqrt(2) * y + np.pi * z, return_inverse=True)[1]


def normals(points: np.ndarray, faces: np.ndarray, weld: np.ndarray) -> np.ndarray:
    """Compute unit normals (V, 3); vertices with equal numbers in `weld` (V,) share one."""
    ax, ay, az = points.T[:, faces[:, 0]]
    bx, by, bz = points.T[:, faces[:, 1]] - (ax, ay, az)
    cx, cy, cz = points.T[:, faces[:, 2]] - (ax, ay, az)
    face = (by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx)
    corner = weld[faces].T.ravel()
    sums = np.stack([np.bincount(corner, np.tile(n, 3), len(points)) for n in face], 1)[weld]
    unit: np.ndarray = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return unit


def clip(surface: Surface, field: np.ndarray) -> Surface:
    """Keep the surface where a field (V,) over its vertices is not negative."""
    inside = field >= 0
    count = inside[surface.faces].sum(1)
    whole = np.flatnonzero(count == 3)
    faces = [surface.faces[whole]]
    pairs, corners = [], []
    for lone, kind in ((True, 1), (False, 2)):  # one corner stays, or one goes
        owner = np.flatnonzero(count == kind)
        first = np.argmax(inside[surface.faces[owner]] == lone, axis=1)
        a, b, c = (surface.faces[owner, (first + k) % 3] for k in range(3))
        pairs += [np.stack([a, b], 1), np.stack([a, c], 1)]
        corners.append((owner, a, b, c))
    ends = np.sort(np.concatenate(pairs), 1)
    edges, which = np.unique(ends[:, 0] * len(field) + ends[:, 1], return_inverse=True)
    start, end = edges // len(field), edges % len(field)
    ab, ac, de, df = np.split(which + len(field), np.cumsum([len(pair) for pair in pairs[:-1]]))
    share = (field[start] / (field[start] - field[end]))[:, None]
    (one, a, _, _), (two, _, e, f) = corners
    faces += [np.stack(t, 1) for t in ((a, ab, ac), (de, e, f), (de, f, df))]
    owner = np.concatenate([whole, one, two, two])

    def grown(values: np.ndarray) -> np.ndarray:
        low, high = values[start], values[end]
        return np.concatenate([values, low + share * (high - low)])

    cut = Surface(
        grown(surface.table),
        np.concatenate(faces),
        surface.tile[owner],
        surface.part[owner],
        grown(surface.points),
    )
    return cut.only(np.ones(len(owner), bool))


def joined(*surfaces: Surface) -> Surface:
    """Join several surfaces."""
    starts = np.cumsum([0, *(len(s.table) for s in surfaces)])
    return Surface(
        np.concatenate([s.table for s in surfaces]),
        np.concatenate([s.faces + start for s, start in zip(surfaces, starts, strict=False)]),
        *(
            np.concatenate([getattr(s, name) for s in surfaces])
            for name in ("tile", "part", "points")
        ),
    )


def lipped(surface: Surface) -> Surface:
    """Join the open edges of a surface to the skin below, so that no gap remains."""
    size = len(surface.table)
    weld = welded(surface.table[:, :3])
    start, end = surface.faces.ravel(), surface.faces[:, [1, 2, 0]].ravel()
    rim = np.flatnonzero(~np.isin(weld[start] * size + weld[end], weld[end] * size + weld[start]))
    p, q, owner = start[rim], end[rim], rim // 3
    inner_p, inner_q = (size + np.arange(2 * len(rim))).reshape(2, -1)
    lip = [np.stack([q, p, inner_p], 1), np.stack([q, inner_p, inner_q], 1)]
    return Surface(
        np.concatenate([surface.table, surface.table[p], surface.table[q]]),
        np.concatenate([surface.faces, *lip]),
        np.concatenate([surface.tile, surface.tile[owner], surface.tile[owner]]),
        np.concatenate([surface.part, surface.part[owner], surface.part[owner]]),
        np.concatenate([surface.points, surface.table[p, :3], surface.table[q, :3]]),
    )

"""Tubes: cross-sections lofted along chains of joints, as grids of vertices."""

import numpy as np


def chain_weights(stations: np.ndarray, knots: np.ndarray, radius: float) -> np.ndarray:
    """Weights (n, joints) of a polyline over `knots`, its corners rounded over `radius`."""
    at = stations[:, None] + np.linspace(-radius, radius, 9)
    segment = np.clip(np.searchsorted(knots, at) - 1, 0, len(knots) - 2)
    share = (at - knots[segment]) / (knots[segment + 1] - knots[segment])
    eye = np.eye(len(knots))
    weights = eye[segment] * (1 - share)[..., None] + eye[segment + 1] * share[..., None]
    return weights.mean(axis=1)


def sections(
    table: np.ndarray, stations: np.ndarray, around: int, power: float = 2.0
) -> np.ndarray:
    """Cross-sections (n, around + 1, 2) of super-ellipses whose radii `table` lists."""
    angle = np.linspace(0, 2 * np.pi, around + 1)
    cos, sin = np.cos(angle), np.sin(angle)
    scale = (np.abs(cos) ** power + np.abs(sin) ** power) ** (-1 / power)
    width, front, back = (np.interp(stations, table[:, 0], table[:, i])[:, None] for i in (1, 2, 3))
    return np.stack([width * cos * scale, np.where(sin > 0, front, back) * sin * scale], axis=-1)


def swell(sections: np.ndarray, ease: np.ndarray) -> np.ndarray:
    """Sections pushed outwards by `ease` (n,) metres."""
    length = np.linalg.norm(sections, axis=-1, keepdims=True)
    return sections * (1 + ease[:, None, None] / np.maximum(length, 1e-3))


def loft(centres: np.ndarray, tangents: np.ndarray, sections: np.ndarray) -> np.ndarray:
    """Rings (N, n, m, 3) around centre lines (N, n, 3)."""
    tangents = tangents / np.linalg.norm(tangents, axis=-1, keepdims=True)
    side = np.array([1.0, 0, 0]) - tangents[..., :1] * tangents
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    front = np.cross(tangents, side)
    return (
        centres[..., None, :]
        + side[..., None, :] * sections[..., :1]
        + front[..., None, :] * sections[..., 1:]
    )


def grid_normals(grid: np.ndarray) -> np.ndarray:
    """Outward unit normals of closed tubes (N, n, m, 3) whose last column repeats the first."""
    along = np.gradient(grid, axis=1)
    ring = grid[:, :, :-1]
    around = np.roll(ring, -1, axis=2) - np.roll(ring, 1, axis=2)
    around = np.concatenate([around, around[:, :, :1]], axis=2)
    normal = np.cross(around, along)
    return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)


def stack(rings: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Level rings (n, m, 2) at heights `z` (n,) as a grid (n, m, 3)."""
    return np.concatenate([rings, np.broadcast_to(z[:, None, None], (*rings.shape[:2], 1))], -1)

"""A z-buffer in NumPy: which face covers each sample, how it is lit, and image and mask from both.

All triangles are expanded into the samples of their bounding boxes at once; the nearest one of each
sample is kept with one `minimum.at` over keys that join depth and face.
"""

from dataclasses import dataclass

import numpy as np

_DEPTH_STEPS = 2.0**22  # per metre


@dataclass(frozen=True)
class Mesh:
    """A figure in the picture: screen points (V, 3: column, row, depth), camera-space normals."""

    points: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    parts: np.ndarray
    tiles: np.ndarray
    uv: np.ndarray
    textures: np.ndarray  # (tiles, T, T, 3) in [0, 1]


def rasterise(
    points: np.ndarray, faces: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Nearest front face at every sample centre of a height x width grid.

    Args:
        points: (V, 3) column, row (in samples, rows downwards) and depth in metres.
        faces: (F, 3), counter-clockwise seen from outside.

    Returns:
        samples: (S,) flat indices of the covered samples, ascending.
        face: (S,) the face that covers each.
        weights: (S, 3) barycentric weights of its corners.
        depth: (S,) depth at the sample.
    """
    corners = points[faces]
    (x0, y0), (x1, y1), (x2, y2) = (corners[:, i, :2].T for i in range(3))
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    left = np.maximum(np.ceil(corners[:, :, 0].min(1) - 0.5), 0).astype(np.int64)
    right = np.minimum(np.floor(corners[:, :, 0].max(1) - 0.5), width - 1).astype(np.int64)
    top = np.maximum(np.ceil(corners[:, :, 1].min(1) - 0.5), 0).astype(np.int64)
    bottom = np.minimum(np.floor(corners[:, :, 1].max(1) - 0.5), height - 1).astype(np.int64)
    # Rows run downwards, so a face that looks at us has negative area.
    keep = np.flatnonzero((area < -1e-9) & (right >= left) & (bottom >= top))
    corners, left, top, area = corners[keep], left[keep], top[keep], area[keep]
    wide = right[keep] - left + 1
    count = wide * (bottom[keep] - top + 1)
    owner = np.repeat(np.arange(len(keep), dtype=np.int32), count)
    local = np.arange(len(owner), dtype=np.int32)
    local -= np.repeat((np.cumsum(count) - count).astype(np.int32), count)
    row = local // wide.astype(np.int32)[owner]
    column = local - row * wide.astype(np.int32)[owner]

    # Barycentric weights are planes over the screen, a*column + b*row + c, with rows and columns
    # counted from the box's corner so that single precision is enough.
    (x0, y0), (x1, y1), (x2, y2) = (corners[:, i, :2].T for i in range(3))
    x, y = left + 0.5 - x0, top + 0.5 - y0

    def plane(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        terms = np.stack([a / area, b / area, (a * x + b * y) / area]).astype(np.float32)
        return terms[0][owner] * column + terms[1][owner] * row + terms[2][owner]

    w1, w2 = plane(y2 - y0, x0 - x2), plane(y0 - y1, x1 - x0)
    hit = np.flatnonzero((np.minimum(w1, w2) >= -1e-5) & (w1 + w2 <= 1 + 1e-5))
    owner, w1, w2 = owner[hit], w1[hit], w2[hit]
    flat = (top[owner] + row[hit]) * width + left[owner] + column[hit]
    z = corners[:, :, 2]
    depth = z[owner, 0] + w1 * (z[:, 1] - z[:, 0])[owner] + w2 * (z[:, 2] - z[:, 0])[owner]
    # The low bits name the candidate: the nearest wins, the first one on a tie.
    key = (depth * _DEPTH_STEPS).astype(np.int64) * (1 << 24) + np.arange(len(flat))
    nearest = np.full(height * width, np.iinfo(np.int64).max)
    np.minimum.at(nearest, flat, key)
    samples = np.flatnonzero(nearest != np.iinfo(np.int64).max)
    chosen = nearest[samples] & ((1 << 24) - 1)
    w1, w2 = w1[chosen], w2[chosen]
    return samples, keep[owner[chosen]], np.stack([1 - w1 - w2, w1, w2], 1), depth[chosen]


def draw(
    meshes: list[Mesh], height: int, width: int, light: np.ndarray, ambient: float, samples: int = 2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw figures, the first of which is the subject.

    Args:
        meshes: figures whose points are in pixels of the height x width picture.
        light: (3,) unit vector towards the light in camera space (right, up, towards the viewer).
        ambient: share of light that reaches every surface.
        samples: samples a pixel along each axis.

    Returns:
        colour: (height, width, 3) in [0, 1], already multiplied by coverage.
        coverage: (height, width) share of samples that any figure covers.
        mask: (height, width) uint8, the part of the subject that most samples show.
    """
    rows, columns = height * samples, width * samples
    parts = int(meshes[0].parts.max()) + 1
    nearest = np.full(rows * columns, np.inf)
    colour = np.zeros((rows * columns, 3), np.float32)
    part = np.full(rows * columns, -1)  # -1: no figure
    for index, mesh in enumerate(meshes):
        points = mesh.points * [samples, samples, 1]
        where, face, weights, depth = rasterise(points, mesh.faces, rows, columns)
        front = np.flatnonzero(depth < nearest[where])
        where, face, weights = where[front], face[front], weights[front]
        nearest[where] = depth[front]
        colour[where] = _shade(mesh, face, weights, light, ambient)
        part[where] = mesh.parts[face] if index == 0 else 0
    drawn = np.flatnonzero(part >= 0)
    pixel = drawn // (columns * samples) * width + drawn % columns // samples
    share = 1 / samples**2
    coverage = np.bincount(pixel, minlength=height * width) * share
    mean = [np.bincount(pixel, colour[drawn, c], height * width) * share for c in range(3)]
    counts = np.bincount(pixel * parts + part[drawn], minlength=height * width * parts)
    counts = counts.reshape(height, width, parts)
    counts[..., 0] = samples**2 - counts[..., 1:].sum(-1)
    return (
        np.stack(mean, -1).reshape(height, width, 3).astype(np.float32),
        coverage.reshape(height, width).astype(np.float32),
        counts.argmax(-1).astype(np.uint8),
    )


def _shade(
    mesh: Mesh, face: np.ndarray, weights: np.ndarray, light: np.ndarray, ambient: float
) -> np.ndarray:
    """Texture colour times wrapped Lambert light, (S, 3)."""
    corners = mesh.faces[face]
    attributes = np.concatenate([mesh.uv, mesh.normals], 1).astype(np.float32)
    weights = weights.astype(np.float32)
    values = weights[:, :1] * attributes[corners[:, 0]]
    for k in (1, 2):
        values += weights[:, k : k + 1] * attributes[corners[:, k]]
    size = mesh.textures.shape[1]
    texel = np.clip((values[:, :2] * size).astype(np.int64), 0, size - 1)
    base = mesh.textures[mesh.tiles[face], texel[:, 1], texel[:, 0]]
    normal = values[:, 2:]
    length = np.sqrt(np.einsum("sd,sd->s", normal, normal))
    facing = (normal @ light.astype(np.float32)) / np.maximum(length, 1e-9)
    sky = 0.75 + 0.25 * normal[:, 1] / np.maximum(length, 1e-9)
    lit = ambient * sky + (1 - ambient) * np.clip(0.25 + 0.75 * facing, 0, None)
    return base * (1.15 * lit)[:, None]

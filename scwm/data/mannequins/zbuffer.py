"""A z-buffer in NumPy: the face that covers each sample, its light, and the image and mask.

All triangles are cut into spans of samples along the rows at once. One `minimum.at` over keys that
join depth and face keeps the nearest triangle of each sample.
"""

from dataclasses import dataclass

import numpy as np

_DEPTH_STEPS = 2.0**22  # per metre
_CANDIDATES = 1 << 24  # samples of all front faces together


@dataclass(frozen=True)
class Mesh:
    """A figure in the image: screen points (V, 3: column, row, depth), camera-space normals."""

    points: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    parts: np.ndarray
    tiles: np.ndarray
    chart: np.ndarray  # (V, 3) x and y from the axis of the tile, and v upwards in [0, 1]
    textures: np.ndarray  # (tiles, T, T, 3) in [0, 1]: rows upwards, columns around from the right


def rasterise(
    points: np.ndarray, faces: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find the nearest front face at every sample centre of a height x width grid.

    A sample belongs to one of the faces that meet at an edge, never to both or to none.

    Args:
        points: (V, 3) column, row (in samples, rows downwards) and depth in metres.
        faces: (F, 3), counter-clockwise seen from outside.

    Returns:
        samples: (S,) flat indices of the covered samples, ascending.
        face: (S,) the face that covers each.
        weights: (S, 3) barycentric weights of its corners.
        depth: (S,) depth at the sample.
    """
    x, y, z = points.T
    a, b, c = faces.T
    # Rows run downwards, so a face that looks at us has negative area.
    area = (x[b] - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (y[b] - y[a])
    front = np.flatnonzero(area < -1e-9)
    area = area[front]
    x, y, z = (axis[faces[front].T] for axis in (x, y, z))  # (3, F') each

    # The middle corner cuts a face into two halves, each between its long and a short edge. Edges
    # are followed downwards, so that two faces agree on where the one they share runs.
    order = np.argsort(y, axis=0, kind="stable")
    (x0, x1, x2), (y0, y1, y2) = (np.take_along_axis(axis, order, 0) for axis in (x, y))
    with np.errstate(divide="ignore", invalid="ignore"):  # level edges, which cross no row
        long, upper, lower = (x2 - x0) / (y2 - y0), (x1 - x0) / (y1 - y0), (x2 - x1) / (y2 - y1)
    ends = np.ceil(np.clip([y0, y1, y2], 0, height) - 0.5).astype(np.int64)
    half, row = _runs(ends[:-1].ravel(), np.diff(ends, axis=0).ravel())
    face, centre = half % len(front), row + 0.5
    corner_x, corner_y, short = map(np.concatenate, ((x0, x1), (y0, y1), (upper, lower)))
    one = x0[face] + (centre - y0[face]) * long[face]
    other = corner_x[half] + (centre - corner_y[half]) * short[half]
    left = np.ceil(np.maximum(np.minimum(one, other), 0) - 0.5).astype(np.int64)
    right = np.ceil(np.minimum(np.maximum(one, other), width) - 0.5).astype(np.int64)
    some = np.flatnonzero(right > left)
    face, row, centre, left, right = (v[some] for v in (face, row, centre, left, right))

    # Weights and depth are planes over the screen: their value where a span starts, and a step.
    across, down = left + 0.5 - x[0][face], centre - y[0][face]
    step1, step2 = (y[2] - y[0]) / area, (y[0] - y[1]) / area
    w1 = step1[face] * across + ((x[0] - x[2]) / area)[face] * down
    w2 = step2[face] * across + ((x[1] - x[0]) / area)[face] * down
    z1, z2 = z[1] - z[0], z[2] - z[0]
    start, step = z[0][face] + w1 * z1[face] + w2 * z2[face], (step1 * z1 + step2 * z2)[face]
    span, column = _runs(left, right - left)
    along = column - left[span]
    depth = start[span] + along * step[span]
    # The low digits name the candidate: the nearest wins, the first one on a tie.
    key = (depth * _DEPTH_STEPS).astype(np.int64) * _CANDIDATES + np.arange(len(span))
    nearest = np.full(height * width, np.iinfo(np.int64).max)
    np.minimum.at(nearest, row[span] * width + column, key)
    samples = np.flatnonzero(nearest != np.iinfo(np.int64).max)
    chosen = nearest[samples] % _CANDIDATES
    span, along = span[chosen], along[chosen]
    face = face[span]
    w1, w2 = w1[span] + along * step1[face], w2[span] + along * step2[face]
    return samples, front[face], np.stack([1 - w1 - w2, w1, w2], 1), depth[chosen]


def _runs(starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return owner and value of each element of the runs start, start + 1, … of these lengths."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    return owner, np.arange(len(owner)) + (starts - np.cumsum(lengths) + lengths)[owner]


def draw(
    meshes: list[Mesh], height: int, width: int, light: np.ndarray, ambient: float, samples: int = 2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw figures, the first of which is the subject.

    Args:
        meshes: figures whose points are in pixels of the height x width picture.
        light: (3,) unit vector towards the light in camera space (right, up, towards the viewer).
        ambient: share of light on every surface.
        samples: samples per pixel along each axis.

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
    """Compute texture colour times wrapped Lambert light, (S, 3)."""
    attributes = np.concatenate([mesh.chart, mesh.normals], 1).astype(np.float32)
    values = np.einsum("sk,skd->sd", weights.astype(np.float32), attributes[mesh.faces][face])
    size = mesh.textures.shape[1]
    # Angles are taken at the samples: between corners they would bend what is straight.
    turn = np.arctan2(values[:, 1], values[:, 0]) * np.float32(size / (2 * np.pi))
    column = np.minimum((turn + size * (turn < 0)).astype(np.int64), size - 1)
    row = np.clip((values[:, 2] * size).astype(np.int64), 0, size - 1)
    texel = (mesh.tiles[face] * size + row) * size + column
    base = mesh.textures.reshape(-1, 3).take(texel, axis=0)
    normal = values[:, 3:]
    length = np.sqrt(np.einsum("sd,sd->s", normal, normal))
    facing = (normal @ light.astype(np.float32)) / np.maximum(length, 1e-9)
    sky = 0.75 + 0.25 * normal[:, 1] / np.maximum(length, 1e-9)
    lit = ambient * sky + (1 - ambient) * np.clip(0.25 + 0.75 * facing, 0, None)
    shaded: np.ndarray = base * (1.15 * lit)[:, None]
    return shaded

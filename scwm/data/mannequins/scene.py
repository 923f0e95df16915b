"""One photograph: place figures, aim the box like a detector, draw, compose, develop."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from .body import Body
from .camera import Camera, develop, view
from .zbuffer import Mesh, draw


@dataclass(frozen=True)
class Figure:
    """A posed body, its textures and the direction of view."""

    vertices: np.ndarray  # (V, 3) in metres
    normals: np.ndarray  # (V, 3)
    body: Body
    textures: np.ndarray  # as in `Mesh`
    azimuth: float


def photograph(
    camera: Camera,
    subject: Figure,
    companion: Figure | None,
    kind: str,
    size: tuple[int, int],
    rng: np.random.Generator,
    jitter: float,
    truncation: float,
    occlusion: float,
    scene_at: float,
) -> tuple[Image.Image, np.ndarray]:
    """Render image and part mask (height, width) of one detector box.

    Args:
        kind: "person"; "misplaced", a box that misses most of the person; "empty", no person.
        jitter, truncation, occlusion: as in `Knobs`.
        scene_at: place of the subject along the backdrop, in [0, 1).
    """
    height, width = size
    elevation = camera.elevation + float(rng.normal(0, 0.03))
    distance = camera.distance * float(np.exp(rng.normal(0, 0.1)))
    points, normals = view(
        subject.vertices, subject.normals, subject.azimuth, elevation, distance, np.zeros(3)
    )
    box = aim(points, kind, rng, jitter, truncation)
    meshes = [_mesh(subject, points, normals, box, size)] if kind != "empty" else []
    if companion is not None:
        side = float(rng.choice([-1, 1]))
        place = (
            np.array([side * rng.uniform(0.30, 0.55), 0, -rng.uniform(0.5, 1.0)])
            if rng.random() < 0.35
            else np.array([side * rng.uniform(0.25, 0.9), 0, rng.uniform(0.8, 4.0)])
        )
        spots, facing = view(
            companion.vertices, companion.normals, companion.azimuth, elevation, distance, place
        )
        meshes.append(_mesh(companion, spots, facing, box, size))
    picture = _backdrop(camera, box, size, scene_at, rng)
    mask = np.zeros(size, np.uint8)
    if meshes:
        for points in [mesh.points for mesh in meshes]:
            _shade_ground(picture, points, camera.light)
        colour, coverage, mask = draw(meshes, height, width, camera.light, camera.ambient)
        picture = colour + (1 - coverage[..., None]) * picture
        if kind == "empty":
            mask = np.zeros(size, np.uint8)
    if rng.random() < occlusion:
        picture, mask = _occlude(picture, mask, rng)
    return develop(camera, picture, rng), mask


def aim(
    points: np.ndarray, kind: str, rng: np.random.Generator, jitter: float, truncation: float
) -> np.ndarray:
    """Aim a detector's box (4,): left, top, width, height, around projected points (V, 3)."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    tall = (high[1] - low[1]) * 1.06
    wide = float(np.clip((high[0] - low[0]) * 1.15, 0.36 * tall, 0.56 * tall))
    centre = (low + high) / 2
    offset, scale = rng.normal(size=2), float(np.exp(rng.normal(0, 0.04 * jitter)))
    centre = centre + jitter * np.array([0.05 * wide, 0.02 * tall]) * offset
    cut, amount = rng.random(), rng.random()
    if kind == "misplaced":
        angle = 2 * np.pi * amount
        centre = centre + np.array([0.75 * wide * np.cos(angle), 0.42 * tall * np.sin(angle)])
    elif cut < 0.75 * truncation:  # feet, at worst all below the knee
        gone = tall * (0.06 + 0.22 * amount)
        tall, centre = tall - gone, centre - np.array([0, gone / 2])
    elif cut < truncation:  # the upper part of the head
        gone = tall * (0.04 + 0.06 * amount)
        tall, centre = tall - gone, centre + np.array([0, gone / 2])
    extent = np.array([wide, tall]) * scale
    return np.concatenate([centre - extent / 2, extent])


def _mesh(
    figure: Figure, points: np.ndarray, normals: np.ndarray, box: np.ndarray, size: tuple[int, int]
) -> Mesh:
    scale = np.array([size[1] / box[2], size[0] / box[3], 1])
    body = figure.body
    return Mesh(
        (points - [box[0], box[1], 0]) * scale,
        normals,
        body.faces,
        body.parts,
        body.tiles,
        body.chart,
        figure.textures,
    )


def _backdrop(
    camera: Camera, box: np.ndarray, size: tuple[int, int], at: float, rng: np.random.Generator
) -> np.ndarray:
    """Cut the piece of the camera's scene behind the box."""
    columns, rows = camera.scene.size
    tall = rows * rng.uniform(0.50, 0.66)
    wide = min(tall * box[2] / box[3] * 1.2, columns / 2)
    left = (at + rng.normal(0, 0.02)) % 1 * (columns - wide)
    top = np.clip(rows * camera.horizon - rng.uniform(0.45, 0.8) * tall, 0, rows - tall)
    window = (left, top, left + wide, top + tall)
    piece = camera.scene.resize((size[1], size[0]), Image.Resampling.BILINEAR, window)
    return np.asarray(piece, np.float32) / 255


def _shade_ground(picture: np.ndarray, points: np.ndarray, light: np.ndarray) -> None:
    """Darken the floor around the feet, away from the light."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    reach = high[1] - low[1]
    y, x = np.ogrid[: picture.shape[0], : picture.shape[1]]
    across = (x + 0.5 - (low[0] + high[0]) / 2 + 0.12 * reach * light[0]) / (0.20 * reach)
    along = (y + 0.5 - high[1] + 0.012 * reach + 0.03 * reach * light[2]) / (0.035 * reach)
    shadow = 0.5 * np.exp(-(along**2)) * np.exp(-(across**2))
    picture *= (1 - shadow[..., None]).astype(np.float32)


def _occlude(
    picture: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a pole, a barrier, a bush or a box in front of the figure."""
    height, width = mask.shape
    y, x = np.mgrid[:height, :width]
    kind = int(rng.integers(4))
    tone = rng.uniform(0.1, 0.7) + rng.uniform(-0.08, 0.08, 3)
    paint = np.ones(picture.shape, np.float32) * tone
    if kind == 0:
        left, wide = rng.uniform(0.05, 0.85) * width, rng.uniform(0.08, 0.18) * width
        where = (x >= left) & (x < left + wide)
        paint *= (1.2 - 0.6 * np.clip((x - left) / wide, 0, 1))[..., None]
    elif kind == 1:
        top = rng.uniform(0.62, 0.85) * height
        where = (y >= top) & ((y < top + 0.05 * height) | (y > top + 0.09 * height))
        paint *= np.where((x + y) // 9 % 2 == 0, 1.0, 0.7)[..., None]
    elif kind == 2:
        side, top = rng.choice([0.0, 1.0]) * width, rng.uniform(0.45, 0.7) * height
        reach = rng.uniform(0.35, 0.6) * width
        leaves = rng.random((height // 3 + 1, width // 3 + 1)).repeat(3, 0).repeat(3, 1)
        leaves = leaves[:height, :width]
        where = ((x - side) / reach) ** 2 + ((y - height) / (height - top)) ** 2 < 0.75 + (
            0.5 * leaves
        )
        paint = np.array([0.20, 0.34, 0.14]) * (0.4 + 1.2 * leaves)[..., None]
    else:
        left, top = rng.uniform(-0.3, 0.7) * width, rng.uniform(0.6, 0.8) * height
        where = (x >= left) & (x < left + 0.6 * width) & (y >= top)
        paint *= np.where(y < top + 5, 1.25, 0.9)[..., None]
    picture = np.where(where[..., None], np.clip(paint, 0, 1), picture)
    return picture, np.where(where, 0, mask).astype(np.uint8)

"""Cameras: view, backdrop, light, colour response and resolution."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

_SCENE = (320, 960)  # rows, columns of a backdrop
_GREY = 0.48


@dataclass(frozen=True)
class Camera:
    """One camera of the network, with the properties that all its images share."""

    azimuth: float  # where it mostly sees people from, radians; 0 = from the front
    spread: float
    elevation: float
    distance: float
    light: np.ndarray  # (3,) towards the light: right, up, towards the viewer
    ambient: float
    gains: np.ndarray  # (3,) white balance
    gamma: float
    exposure: float
    saturation: float
    haze: float  # how far blacks are lifted
    blur: float  # pixels
    rows: int  # native rows of a person box
    noise: float
    quality: int  # of the JPEG
    scene: Image.Image  # the backdrop
    horizon: float  # row share at which the floor begins


def make_camera(
    index: int, count: int, seed: int, strength: float = 1.0, contrast: float = 1.0
) -> Camera:
    """Draw camera `index` of `count`.

    Args:
        index: number of the camera, from 0.
        count: number of cameras.
        seed: seed of the data set.
        strength: scale of colour cast, gamma, blur and noise.
        contrast: difference of its backdrop from the grey that all cameras share.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2, index]))
    order = np.random.default_rng(np.random.SeedSequence([seed, 3]))

    def spread_out() -> float:
        """Draw a number in [0, 1), evenly spread over the cameras."""
        return float((order.permutation(count)[index] + rng.random()) / count)

    warm, green = 2 * spread_out() - 1, 2 * spread_out() - 1
    light_azimuth, light_height = 2 * np.pi * spread_out(), rng.uniform(0.5, 1.1)
    light = np.array(
        [
            np.sin(light_azimuth) * np.cos(light_height),
            np.sin(light_height),
            np.cos(light_azimuth) * np.cos(light_height),
        ]
    )
    horizon = rng.uniform(0.25, 0.5)
    scene = _GREY + contrast * (_backdrop(rng, index, horizon) - _GREY)
    return Camera(
        azimuth=2 * np.pi * index / count + rng.uniform(-0.3, 0.3),
        spread=0.6,
        elevation=0.08 + 0.32 * spread_out(),
        distance=5 + 8 * spread_out(),
        light=light,
        ambient=0.35 + 0.4 * spread_out(),
        gains=np.exp(strength * np.array([0.15 * warm, 0.07 * green, -0.15 * warm])),
        gamma=float(np.exp(strength * 0.18 * (2 * spread_out() - 1))),
        exposure=float(np.exp(strength * 0.16 * (2 * spread_out() - 1))),
        saturation=1.05 - 0.35 * strength * spread_out(),
        haze=0.10 * strength * spread_out(),
        blur=0.9 * strength * spread_out(),
        rows=int(56 + 90 * spread_out()),
        noise=0.02 * strength * spread_out(),
        quality=int(60 + 32 * spread_out()),
        scene=Image.fromarray((255 * scene + 0.5).astype(np.uint8)),
        horizon=horizon,
    )


def _cloud(rng: np.random.Generator, cells: int, rows: int, columns: int) -> np.ndarray:
    """Draw smooth noise (rows, columns) in [0, 1]."""
    small = rng.random((max(2, cells * rows // columns), cells)).astype(np.float32)
    large = Image.fromarray(small).resize((columns, rows), Image.Resampling.BICUBIC)
    cloud: np.ndarray = np.clip(np.asarray(large), 0, 1)
    return cloud


def _backdrop(rng: np.random.Generator, index: int, horizon: float) -> np.ndarray:
    """Draw a wide image of the place: upright objects behind, a floor in front."""
    rows, columns = _SCENE
    edge = int(rows * horizon)
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    tone = rng.uniform(0.25, 0.75) + rng.uniform(-0.06, 0.06, 3)
    scene = np.empty((rows, columns, 3), np.float32)
    kind = ("bricks", "foliage", "shops", "panels", "street", "lawn")[index % 6]
    wall = tone * (1.1 - 0.25 * y / edge)[..., None]
    if kind == "bricks":
        offset = (y // 12 % 2) * 12
        mortar = ((y % 12) < 1.5) | (((x + offset) % 24) < 1.5)
        tint = _cloud(rng, 80, rows, columns)
        wall = np.array([0.55, 0.33, 0.26]) * (0.75 + 0.5 * tint)[..., None]
        wall[mortar] = (0.62, 0.60, 0.57)
    elif kind in ("foliage", "lawn"):
        leaves = 0.5 * _cloud(rng, 40, rows, columns) + 0.5 * _cloud(rng, 170, rows, columns)
        wall = np.array([0.24, 0.36, 0.15]) * (0.3 + 2.2 * leaves**1.5)[..., None]
        for trunk in rng.integers(0, columns, 9):
            wall[:, trunk : trunk + int(rng.integers(4, 12))] = (0.25, 0.19, 0.14)
    elif kind == "shops":
        for left in range(0, columns, 80):
            wall[:, left : left + 80] = rng.uniform(0.25, 0.8, 3)
            wall[edge // 3 :, left + 8 : left + 72] = rng.uniform(0.08, 0.35, 3)
            wall[edge // 3 :, left + 40 : left + 43] = 0.6
            wall[edge // 8 : edge // 4, left + 12 : left + 66] = rng.uniform(0.3, 0.95, 3)
    elif kind == "panels":
        wall[((x % 60) < 2) | ((y % 45) < 2)] *= 0.6
        wall *= (0.9 + 0.2 * _cloud(rng, 12, rows, columns))[..., None]
        for left in rng.integers(0, columns - 60, 6):
            wall[edge // 4 : edge, left : left + 40] = rng.uniform(0.2, 0.6, 3)
    scene[:] = wall
    if kind == "street":
        scene[:] = (0.68, 0.74, 0.80) - 0.1 * (y / rows)[..., None]
        for left in range(0, columns, 60):
            roof = int(rng.uniform(0, 0.6) * edge)
            scene[roof:, left : left + 60] = rng.uniform(0.35, 0.65) + rng.uniform(-0.05, 0.05, 3)
            scene[roof + 4 : edge : 12, left + 6 : left + 54] *= 0.7
        for left in rng.integers(0, columns - 90, 6):
            paint = rng.uniform(0.1, 0.8, 3)
            scene[edge - 22 : edge + 10, left : left + 90] = paint
            scene[edge - 36 : edge - 22, left + 18 : left + 72] = paint * 0.4 + 0.1
            scene[edge + 4 : edge + 16, left + 12 : left + 30] = 0.08
            scene[edge + 4 : edge + 16, left + 60 : left + 78] = 0.08
    ground = (
        np.array([0.30, 0.42, 0.18])
        if kind == "lawn"
        else (rng.uniform(0.35, 0.65) + rng.uniform(-0.03, 0.03, 3))
    )
    near = (y - edge) / (rows - edge)
    grain = 0.88 + 0.24 * _cloud(rng, 300 if kind == "lawn" else 120, rows, columns)
    floor = ground * ((0.85 + 0.25 * near) * grain)[..., None]
    if kind in ("bricks", "shops", "panels"):
        depth = 1 / (0.15 + np.maximum(near, 0))
        joints = ((depth * 3) % 1 < 0.07) | (((x - columns / 2) * depth / 40) % 1 < 0.05)
        floor[joints] *= 0.8
    elif kind == "street":
        floor[(np.abs(near - 0.55) < 0.04) & ((x % 160) < 90)] = 0.85
    below = (
        y >= edge
        if kind != "street"
        else (y >= edge + 16)
        | ((y >= edge) & (scene.sum(-1) > 3 * 0.3) & (np.ptp(scene, axis=-1) < 0.12))
    )
    scene[below] = floor[below]
    return np.clip(scene, 0, 1)


def view(
    vertices: np.ndarray,
    normals: np.ndarray,
    azimuth: float,
    elevation: float,
    distance: float,
    place: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Project one figure, seen from `azimuth`, standing `place` (right, up, away) off the axis.

    Returns:
        points: (V, 3) column, row in metres at the axis' distance, and depth in metres.
        normals: (V, 3) in camera space: right, up, towards the viewer.
    """
    turn = np.array(
        [[-np.cos(azimuth), np.sin(azimuth), 0], [0, 0, 1], [np.sin(azimuth), np.cos(azimuth), 0]]
    )
    tilt = np.array(
        [
            [1, 0, 0],
            [0, np.cos(elevation), -np.sin(elevation)],
            [0, np.sin(elevation), np.cos(elevation)],
        ]
    )
    rotation = (tilt @ turn).T
    shift = tilt @ (place * [1, 1, -1]) - [0, 0, 0.9] @ rotation
    across, up, near = (vertices @ rotation + shift).T
    depth = distance - near
    scale = distance / depth
    # Axis after axis in memory: what follows works on whole columns.
    return np.stack([across * scale, -up * scale, depth]).T, normals @ rotation


def develop(camera: Camera, picture: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Apply colour response, blur, native resolution and noise to (H, W, 3) in [0, 1]."""
    height, width = picture.shape[:2]
    exposure = camera.exposure * float(np.exp(rng.normal(0, 0.08)))
    grey = (1 - camera.saturation) * np.array([[0.3], [0.59], [0.11]])
    image = picture @ (grey + camera.saturation * np.eye(3)).astype(np.float32)
    image += camera.noise * rng.standard_normal((height, width, 1), dtype=np.float32)
    levels = np.arange(256)[:, None] / 255 * exposure * camera.gains
    curve = camera.haze + (1 - camera.haze) * np.clip(levels, 0, 1) ** camera.gamma
    image = np.clip(255 * image + 0.5, 0, 255)
    table = (255 * curve.T + 0.5).astype(np.uint8)  # one band after the other
    shot = Image.fromarray(image.astype(np.uint8)).point(table.ravel().tolist())
    blur = camera.blur * float(rng.uniform(0.6, 1.3))
    if blur > 0.25:
        shot = shot.filter(ImageFilter.GaussianBlur(blur * height / 128))
    rows = int(camera.rows * rng.uniform(0.8, 1.2) * height / 128)
    if rows < height:
        small = shot.resize((max(8, rows * width // height), rows), Image.Resampling.BOX)
        shot = small.resize((width, height), Image.Resampling.BICUBIC)
    return shot


def encode(camera: Camera, shot: Image.Image) -> bytes:
    """Encode the shot as JPEG bytes."""
    buffer = io.BytesIO()
    shot.save(buffer, "JPEG", quality=camera.quality)
    return buffer.getvalue()

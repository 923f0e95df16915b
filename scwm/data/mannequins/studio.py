"""From shots to images: people, poses and directions of view; and their files."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from scwm.core.errors import ScwmError

from .anatomy import Pose, gestures
from .body import Body
from .camera import Camera, encode, make_camera
from .protocol import Knobs, Shot, seeded, strangers
from .scene import Figure, photograph
from .textures import textures
from .wardrobe import Identity, draw_identities

PALETTE = (
    (0, 0, 0),
    (230, 60, 60),
    (60, 160, 75),
    (255, 205, 40),
    (50, 110, 220),
    (245, 130, 48),
    (145, 60, 180),
)
"""RGB of the mask values 0 (background) … 6 in the PNG palette."""

_PASSERS = 16  # strangers who serve as companions


class Studio:
    """The state that one process needs to render any shot of a set."""

    def __init__(self, knobs: Knobs, seed: int) -> None:
        self.knobs, self.seed = knobs, seed
        self.people = self.cast(knobs, seed)
        self.identities = knobs.train_ids + knobs.test_ids
        self.cameras = [
            make_camera(c, knobs.cameras, seed, knobs.response, knobs.backdrop)
            for c in range(knobs.cameras)
        ]
        self.passer = lru_cache(maxsize=_PASSERS)(self._passer)

    @staticmethod
    def cast(knobs: Knobs, seed: int) -> list[Identity]:
        """Draw all people: train identities, test identities, strangers.

        Raises:
            ScwmError: the wardrobe is too small for this number.
        """
        count = knobs.train_ids + knobs.test_ids + strangers(knobs)
        try:
            return draw_identities(count, seed, knobs.tops, knobs.bottoms)
        except ValueError as error:
            raise ScwmError(str(error), "tops, bottoms", "enlarge the wardrobe") from error

    def figure(self, person: int) -> tuple[Body, np.ndarray]:
        """Build the body and the textures of a person, the latter as in `Mesh`."""
        identity = self.people[person]
        if not self.knobs.bags:
            identity = replace(identity, shape=replace(identity.shape, bag=""), bag="")
        return Body(identity.shape), textures(identity)

    def render(self, shots: list[Shot]) -> Iterator[tuple[Shot, Image.Image, np.ndarray]]:
        """Render image and mask (height, width) of each shot of one person."""
        body, texture = self.figure(shots[0].person)
        starts, jitters, rngs = zip(*(self._chance(shot) for shot in shots), strict=True)
        frames = np.array([shot.frame for shot in shots])
        vertices, normals = body.pose(_poses(np.array(starts), np.array(jitters), frames))
        for i, (shot, rng) in enumerate(zip(shots, rngs, strict=True)):
            camera = self.cameras[shot.camera]
            azimuth = _azimuth(camera, starts[i], jitters[i])
            subject = Figure(vertices[i], normals[i], body, texture, azimuth)
            companion = self._companion(rng) if rng.random() < self.knobs.companions else None
            image, mask = photograph(
                camera,
                subject,
                companion,
                shot.kind,
                self.knobs.size,
                rng,
                self.knobs.jitter,
                self.knobs.truncation,
                self.knobs.occlusion,
                scene_at=float(starts[i][1]),
            )
            yield shot, image, mask

    def shows_bag(self, shot: Shot) -> bool:
        """Whether the person has a bag on the side of the camera."""
        shape = self.people[shot.person].shape
        if not (shape.bag and self.knobs.bags):
            return False
        start, jitter, _ = self._chance(shot)
        azimuth = _azimuth(self.cameras[shot.camera], start, jitter)
        if shape.bag == "backpack":
            return bool(np.cos(azimuth) < 0)
        return bool(shape.bag_side * np.sin(azimuth) > 0)

    def _chance(self, shot: Shot) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
        """Draw numbers of the walk past the camera (3,), of the image (4,), and a generator."""
        track = seeded(self.seed, 7, shot.subject, shot.camera)
        start = np.array([track.random(), track.random(), track.normal()])
        rng = seeded(self.seed, shot.subject, shot.camera, shot.frame)
        return start, rng.normal(size=4), rng

    def _companion(self, rng: np.random.Generator) -> Figure:
        """Draw a passer-by in one of a few cached poses; posing costs more than drawing."""
        body, texture, vertices, normals = self.passer(int(rng.integers(_PASSERS)))
        pose = int(rng.integers(len(vertices)))
        return Figure(vertices[pose], normals[pose], body, texture, rng.uniform(0, 2 * np.pi))

    def _passer(self, index: int) -> tuple[Body, np.ndarray, np.ndarray, np.ndarray]:
        person = self.identities + index
        rng = seeded(self.seed, 8, person)
        body, texture = self.figure(person)
        poses = _poses(rng.random((12, 3)), rng.normal(size=(12, 4)), np.zeros(12))
        return body, texture, *body.pose(poses)


def _azimuth(camera: Camera, start: np.ndarray, jitter: np.ndarray) -> float:
    """Compute the direction of view of a person, in radians: 0 is the front, π/2 the right."""
    back = np.pi * (start[0] > 0.65)  # a third walks the other way
    return float(camera.azimuth + back + camera.spread * start[2] + 0.15 * jitter[3])


def _poses(starts: np.ndarray, jitters: np.ndarray, frames: np.ndarray) -> Pose:
    """Draw poses: four people in five walk, the others stand; each frame has a later phase."""
    walks = starts[:, 1] > 0.2
    return Pose(
        phase=(starts[:, 0] + 0.37 * frames + 0.03 * jitters[:, 0]) % 1,
        stride=np.where(walks, 0.85 + 0.1 * np.tanh(jitters[:, 1]), 0.02),
        lean=0.05 * walks + 0.03 * np.tanh(jitters[:, 2]),
        head_yaw=0.25 * np.tanh(jitters[:, 1]),
        gesture=gestures(starts[:, :1] * [7, 13] % 1, walks),
        shift=np.tanh(2 * np.sin(50 * starts[:, 1])),
    )


def write(studio: Studio, shots: list[Shot], folder: Path) -> None:
    """Render the shots of one person and write their images and masks."""
    for shot, image, mask in studio.render(shots):
        jpeg = encode(studio.cameras[shot.camera], image)
        (folder / shot.split / f"{shot.name}.jpg").write_bytes(jpeg)
        save_mask(mask, folder / "masks" / shot.split / f"{shot.name}.png")


def save_mask(mask: np.ndarray, path: Path) -> None:
    """Write a part mask (H, W) uint8 as a PNG whose palette shows the parts."""
    picture = Image.fromarray(mask)
    picture.putpalette([channel for colour in PALETTE for channel in colour])
    picture.save(path, compress_level=1)

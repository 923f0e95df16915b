"""Rendering `mannequins`: every image of the protocol, drawn and written by several processes."""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from scwm.errors import ScwmError
from scwm.progress import progress

from .anatomy import Pose
from .body import PARTS, Body
from .camera import encode, make_camera
from .protocol import SPLITS, Knobs, Shot, choose, plan, seeded, strangers
from .scene import Figure, photograph
from .textures import textures
from .wardrobe import draw_identities

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
    """What one process needs to render any shot of a set."""

    def __init__(self, knobs: Knobs, seed: int) -> None:
        self.knobs, self.seed = knobs, seed
        count = knobs.train_ids + knobs.test_ids
        try:
            self.people = draw_identities(count + strangers(knobs), seed, knobs.tops, knobs.bottoms)
        except ValueError as error:
            raise ScwmError(str(error), "tops, bottoms", "enlarge the wardrobe") from error
        self.identities = count
        self.cameras = [
            make_camera(c, knobs.cameras, seed, knobs.response, knobs.backdrop)
            for c in range(knobs.cameras)
        ]
        self.figure = lru_cache(maxsize=48)(self._figure)
        self.poses = lru_cache(maxsize=_PASSERS)(self._passing)

    def _figure(self, person: int) -> tuple[Body, np.ndarray]:
        identity = self.people[person]
        if not self.knobs.bags:
            identity = replace(identity, shape=replace(identity.shape, bag=""), bag="")
        return Body(identity.shape), textures(identity)

    def render(self, shots: list[Shot]) -> Iterator[tuple[Shot, Image.Image, np.ndarray]]:
        """Image and mask of each shot; the shots are of one subject."""
        body, texture = self.figure(shots[0].person)
        rngs = [seeded(self.seed, s.subject, s.camera, s.frame) for s in shots]
        tracks = [seeded(self.seed, 7, s.subject, s.camera) for s in shots]
        starts = np.array([[t.random(), t.random(), t.normal()] for t in tracks])
        jitters = np.array([r.normal(size=4) for r in rngs])
        vertices, normals = body.pose(_poses(starts, jitters, np.array([s.frame for s in shots])))
        for i, (shot, rng) in enumerate(zip(shots, rngs, strict=True)):
            camera = self.cameras[shot.camera]
            back = np.pi * (starts[i, 0] > 0.65)  # a third walks the other way
            azimuth = camera.azimuth + back + camera.spread * starts[i, 2] + 0.15 * jitters[i, 3]
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
                scene_at=float(starts[i, 1]),
            )
            yield shot, image, mask

    def _companion(self, rng: np.random.Generator) -> Figure:
        """A passer-by in one of a few poses, kept because posing costs more than drawing."""
        person = self.identities + int(rng.integers(_PASSERS))
        (body, texture), (vertices, normals) = self.figure(person), self.poses(person)
        pose = int(rng.integers(len(vertices)))
        return Figure(vertices[pose], normals[pose], body, texture, rng.uniform(0, 2 * np.pi))

    def _passing(self, person: int) -> tuple[np.ndarray, np.ndarray]:
        rng = seeded(self.seed, 8, person)
        return self.figure(person)[0].pose(
            _poses(rng.random((12, 3)), rng.normal(size=(12, 4)), np.zeros(12))
        )


def _poses(starts: np.ndarray, jitters: np.ndarray, frames: np.ndarray) -> Pose:
    """Walking for four people in five, standing for the others; each frame a later phase."""
    walks = starts[:, 1] > 0.2
    return Pose(
        phase=(starts[:, 0] + 0.37 * frames + 0.03 * jitters[:, 0]) % 1,
        stride=np.where(walks, 0.85 + 0.1 * np.tanh(jitters[:, 1]), 0.08),
        lean=0.05 * walks + 0.03 * np.tanh(jitters[:, 2]),
        head_yaw=0.25 * np.tanh(jitters[:, 1]),
        elbow=np.stack(
            [
                (starts[:, 0] * 7 % 1 > 0.85) * 1.2 + 0 * frames,
                (starts[:, 0] * 13 % 1 > 0.85) * 1.2 + 0 * frames,
            ],
            1,
        ),
    )


_studio: Studio | None = None


def _open_studio(knobs: Knobs, seed: int) -> None:
    global _studio
    _studio = Studio(knobs, seed)


def _write(task: tuple[Path, list[Shot]]) -> int:
    """Render and write the shots of one subject."""
    out, shots = task
    assert _studio is not None
    for shot, image, mask in _studio.render(shots):
        (out / shot.split / f"{shot.name}.jpg").write_bytes(
            encode(_studio.cameras[shot.camera], image)
        )
        save_mask(mask, out / "masks" / shot.split / f"{shot.name}.png")
    return len(shots)


def save_mask(mask: np.ndarray, path: Path) -> None:
    """Write a part mask (H, W) uint8 as a PNG whose palette shows the parts."""
    picture = Image.fromarray(mask)
    picture.putpalette([channel for colour in PALETTE for channel in colour])
    picture.save(path, compress_level=4)


def render(
    preset: str = "demo",
    out: Path | str = "data/raw/mannequins",
    seed: int = 0,
    processes: int | None = None,
    **knobs: object,
) -> Path:
    """Render the set into the folder `out`, which is there complete or not at all.

    The files depend on preset, seed and knobs only, never on the number of processes.

    Args:
        preset: a name in `PRESETS`.
        out: folder to be made; it must not exist or be empty.
        seed: another seed gives other people, clothes and cameras.
        processes: how many to use; all cores by default.
        **knobs: fields of `Knobs` that differ from the preset.

    Returns:
        The folder.

    Raises:
        ScwmError: unknown preset or knob, a value out of range, or `out` is in use.
    """
    chosen = choose(preset, knobs)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ScwmError("the output folder exists already", out, "remove it or name another")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for split in SPLITS:
        (partial / split).mkdir(parents=True)
        (partial / "masks" / split).mkdir(parents=True)
    groups: dict[int, list[Shot]] = {}
    shots = plan(chosen, seed)
    for shot in shots:
        groups.setdefault(shot.subject, []).append(shot)
    tasks = [(partial, group) for group in groups.values()]
    workers = processes or os.cpu_count() or 1
    studio = Studio(chosen, seed)  # also reports an impossible wardrobe before any worker starts
    if workers == 1:
        global _studio
        _studio = studio
        for task in progress(tasks, "render mannequins"):
            _write(task)
    else:
        with ProcessPoolExecutor(
            workers, get_context("spawn"), _open_studio, (chosen, seed)
        ) as pool:
            done = pool.map(_write, tasks, chunksize=max(1, min(8, len(tasks) // (4 * workers))))
            for _ in progress(done, "render mannequins", total=len(tasks)):
                pass
    contact_sheet(partial, shots).save(partial / "contact_sheet.png")
    (partial / "README.txt").write_text(_readme(preset, seed, chosen, shots), encoding="utf-8")
    if out.exists():
        out.rmdir()
    partial.rename(out)
    return out


def contact_sheet(root: Path, shots: list[Shot], identities: int = 12) -> Image.Image:
    """Images and masks of the first test identities: one row each, one pair a camera."""
    queries = [shot for shot in shots if shot.split == SPLITS[1]]
    people = sorted({shot.subject for shot in queries})[:identities]
    cameras = max(shot.camera for shot in shots) + 1
    sheet = Image.new("RGB", (cameras * 132 + 40, max(1, len(people)) * 132 + 16), "white")
    pen = ImageDraw.Draw(sheet)
    for camera in range(cameras):
        pen.text((40 + camera * 132, 2), f"camera {camera + 1}", fill="black")
    for shot in queries:
        if shot.subject not in people:
            continue
        left, top = 40 + shot.camera * 132, 16 + people.index(shot.subject) * 132
        pen.text((4, top + 56), shot.name[:4], fill="black")
        for offset, path in (
            (0, root / shot.split / f"{shot.name}.jpg"),
            (64, root / "masks" / shot.split / f"{shot.name}.png"),
        ):
            picture = Image.open(path).convert("RGB").resize((64, 128), Image.Resampling.BILINEAR)
            sheet.paste(picture, (left + offset, top))
    return sheet


def _readme(preset: str, seed: int, knobs: Knobs, shots: list[Shot]) -> str:
    counts = "\n".join(
        f"  {split}: {sum(s.split == split for s in shots)} images" for split in SPLITS
    )
    settings = "\n".join(f"  {name}: {value}" for name, value in asdict(knobs).items())
    values = "\n".join(
        f"  {i}: {name} {PALETTE[i]}" for i, name in enumerate(("background", *PARTS))
    )
    return f"""mannequins: rendered people for re-identification, with true part masks

Made by scwm.data.mannequins.render(preset={preset!r}, seed={seed}); the same call gives the same
bytes. Nobody in it is a real person; it says nothing about how a method does on real people.

Layout (as Market-1501): IIII_cCsS_FFFFFF_BB.jpg, identity, camera, sequence, frame, box.
Identity 0000 is a distractor, -1 is junk. Train and test identities are disjoint.
{counts}
masks/<folder>/<same name>.png holds the part at each pixel:
{values}

Settings:
{settings}
"""

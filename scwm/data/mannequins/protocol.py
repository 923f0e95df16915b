"""The protocol of `mannequins`: numbers of people, their cameras and their files."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from scwm.core.errors import ScwmError

SPLITS = ("bounding_box_train", "query", "bounding_box_test")


@dataclass(frozen=True)
class Knobs:
    """The size and the difficulty of the set.

    Attributes:
        train_ids, test_ids: identities of each side; no identity is on both.
        train_frames, test_frames: fewest and most frames of an identity in one camera; in the test
            split the first frame of each camera becomes a query.
        distractors: gallery images of identity 0: strangers, bad boxes, empty boxes.
        junk: gallery images of identity -1: test identities in boxes that miss most of them.
        cameras: total number of cameras; 2 to `cameras` of them see each identity.
        tops, bottoms: garments in the wardrobe; fewer means more people in the same clothes.
        size: height and width of the images.
        response: strength of colour cast, gamma, blur and noise (0: all cameras see true colours).
        backdrop: contrast of the cameras' backdrops (0: one grey for all).
        jitter: strength of the boxes' offset and scale errors.
        truncation: share of boxes that cut feet, legs or head.
        occlusion: share of images in which an object stands before the person.
        companions: share of images with another person before or behind.
        bags: False removes all bags.
    """

    train_ids: int = 100
    test_ids: int = 60
    train_frames: tuple[int, int] = (2, 5)
    test_frames: tuple[int, int] = (3, 6)
    distractors: int = 180
    junk: int = 60
    cameras: int = 6
    tops: int = 20
    bottoms: int = 12
    size: tuple[int, int] = (128, 64)
    response: float = 0.4
    backdrop: float = 0.2
    jitter: float = 1.0
    truncation: float = 0.14
    occlusion: float = 0.10
    companions: float = 0.10
    bags: bool = True


PRESETS = {
    "tiny": Knobs(
        train_ids=24,
        test_ids=12,
        train_frames=(1, 3),
        test_frames=(2, 3),
        distractors=16,
        junk=8,
        tops=10,
        bottoms=7,
    ),
    "demo": Knobs(),
    "full": Knobs(
        train_ids=751,
        test_ids=750,
        train_frames=(2, 7),
        test_frames=(3, 7),
        distractors=2793,
        junk=3819,
        tops=48,
        bottoms=24,
    ),
}
"""Named sizes: `tiny` for tests, `demo` the default, `full` about Market-1501's size."""


RANGES: dict[str, tuple[float, float]] = {
    "train_ids": (1, 9998),
    "test_ids": (1, 9998),
    "train_frames": (1, 99),
    "test_frames": (2, 99),  # a query and a gallery image in every camera
    "distractors": (0, 99_999),
    "junk": (0, 99_999),
    "cameras": (2, 9),
    "tops": (1, 9999),
    "bottoms": (1, 9999),
    "size": (16, 1024),
    "response": (0, 2),
    "backdrop": (0, 1),
    "jitter": (0, 3),
    "truncation": (0, 1),
    "occlusion": (0, 1),
    "companions": (0, 1),
}
"""Least and greatest value of each knob that is a number, or two numbers."""


@dataclass(frozen=True)
class Shot:
    """One planned image: `subject` is its seed, `person` is drawn, `name` is its file."""

    split: str
    name: str
    subject: int
    person: int
    camera: int
    frame: int
    kind: str = "person"  # person, misplaced or empty


def seeded(*key: int) -> np.random.Generator:
    """Return a random generator for a key."""
    return np.random.default_rng(np.random.SeedSequence(list(key)))


def plan(knobs: Knobs, seed: int) -> list[Shot]:
    """Plan every image of the set."""
    shots: list[Shot] = []
    people = knobs.train_ids + knobs.test_ids
    seen_by: dict[int, np.ndarray] = {}
    for person in range(people):
        rng = seeded(seed, 4, person)
        train = person < knobs.train_ids
        seen_by[person] = np.sort(
            rng.permutation(knobs.cameras)[: rng.integers(2, knobs.cameras + 1)]
        )
        low, high = knobs.train_frames if train else knobs.test_frames
        for camera in seen_by[person]:
            start = int(rng.integers(0, 90_000))
            for frame in range(int(rng.integers(low, high + 1))):
                split = SPLITS[0] if train else SPLITS[1] if frame == 0 else SPLITS[2]
                name = f"{person + 1:04d}_c{camera + 1}s1_{start + 25 * frame:06d}_{frame + 1:02d}"
                shots.append(Shot(split, name, person, person, int(camera), frame))
    for index in range(knobs.distractors):
        rng = seeded(seed, 5, index)
        camera = int(rng.integers(knobs.cameras))
        kind = str(rng.choice(["person", "misplaced", "empty"], p=[0.5, 0.3, 0.2]))
        shots.append(
            Shot(
                SPLITS[2],
                f"0000_c{camera + 1}s1_{10 * index:06d}_01",
                people + index,
                people + index % strangers(knobs),
                camera,
                0,
                kind,
            )
        )
    for index in range(knobs.junk):
        rng = seeded(seed, 6, index)
        person = knobs.train_ids + int(rng.integers(knobs.test_ids))
        camera = int(rng.choice(seen_by[person]))
        shots.append(
            Shot(
                SPLITS[2],
                f"-1_c{camera + 1}s1_{10 * index:06d}_01",
                people + knobs.distractors + index,
                person,
                camera,
                0,
                "misplaced",
            )
        )
    return shots


def strangers(knobs: Knobs) -> int:
    """Count people other than the identities: distractors and companions."""
    return 16 + knobs.distractors // 4


def choose(preset: str, knobs: Mapping[str, object]) -> Knobs:
    """Return the preset's knobs with changes.

    Raises:
        ScwmError: the preset or a knob does not exist, or a value is not in `RANGES`.
    """
    if preset not in PRESETS:
        raise ScwmError(f"no preset named {preset!r}", "preset", f"use one of {', '.join(PRESETS)}")
    known = {field.name for field in fields(Knobs)}
    for name in knobs:
        if name not in known:
            raise ScwmError(
                f"no knob named {name!r}", "mannequins", f"use one of {', '.join(sorted(known))}"
            )
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in knobs.items()}
    chosen = replace(PRESETS[preset], **given)  # type: ignore[arg-type]
    for name in known:
        _check(name, getattr(chosen, name), getattr(PRESETS[preset], name))
    if chosen.train_ids + chosen.test_ids > 9999:
        raise ScwmError(
            "more identities than four digits can name",
            "train_ids, test_ids",
            "give at most 9999 in total",
        )
    return chosen


def _check(name: str, value: object, like: object) -> None:
    """Refuse a value of another kind than `like`, or out of the range of the knob."""
    pair, (low, high) = isinstance(like, tuple), RANGES.get(name, (False, True))
    values = value if isinstance(value, tuple) else (value,)
    if isinstance(like, bool):
        good, wanted = isinstance(value, bool), "true or false"
    else:
        number, kind = (float | int, "a number") if isinstance(like, float) else (int, "an integer")
        good = len(values) == 1 + pair and all(
            isinstance(v, number) and not isinstance(v, bool) and low <= v <= high for v in values
        )
        wanted = f"{'two of: ' if pair else ''}{kind} from {low} to {high}"
    if name.endswith("_frames"):
        good, wanted = good and values[0] <= values[1], f"{wanted}, the fewest first"
    if not good:
        raise ScwmError(f"knob {name} cannot be {value!r}", name, f"give {wanted}")

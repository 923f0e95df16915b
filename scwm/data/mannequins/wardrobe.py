"""A small wardrobe that many identities share.

No garment identifies a person: tops, bottoms, shoes, bags and hair are drawn from short lists,
popular items more often. Two identities always differ in at least two of these.
"""

from dataclasses import dataclass

import numpy as np

from .anatomy import Shape

COLOURS = {
    "black": (0.09, 0.09, 0.10),
    "charcoal": (0.24, 0.24, 0.26),
    "grey": (0.50, 0.50, 0.51),
    "silver": (0.72, 0.72, 0.71),
    "white": (0.92, 0.92, 0.90),
    "navy": (0.11, 0.15, 0.30),
    "blue": (0.18, 0.34, 0.66),
    "sky": (0.52, 0.70, 0.86),
    "teal": (0.10, 0.46, 0.47),
    "green": (0.18, 0.48, 0.25),
    "olive": (0.37, 0.38, 0.20),
    "beige": (0.78, 0.70, 0.56),
    "brown": (0.37, 0.25, 0.17),
    "maroon": (0.42, 0.09, 0.14),
    "red": (0.78, 0.14, 0.15),
    "pink": (0.90, 0.58, 0.66),
    "orange": (0.90, 0.49, 0.15),
    "yellow": (0.92, 0.80, 0.25),
    "purple": (0.42, 0.26, 0.56),
}
_TOP_COLOURS = (
    "black",
    "charcoal",
    "grey",
    "silver",
    "white",
    "white",
    "navy",
    "blue",
    "sky",
    "teal",
    "green",
    "olive",
    "beige",
    "maroon",
    "red",
    "pink",
    "orange",
    "yellow",
    "purple",
    "black",
)
_BOTTOM_COLOURS = (
    "black",
    "black",
    "charcoal",
    "grey",
    "navy",
    "navy",
    "blue",
    "sky",
    "beige",
    "olive",
    "brown",
    "white",
)
_SHOE_COLOURS = ("black", "white", "brown", "grey", "red", "navy")
_BAG_COLOURS = ("black", "navy", "brown", "red", "beige", "grey", "teal")
HAIR_COLOURS = (
    (0.07, 0.06, 0.06),
    (0.17, 0.11, 0.08),
    (0.36, 0.23, 0.13),
    (0.66, 0.52, 0.30),
    (0.58, 0.57, 0.56),
    (0.45, 0.18, 0.09),
)
_HAIR_SHARES = (0.36, 0.26, 0.16, 0.11, 0.07, 0.04)
SKINS = (
    (0.93, 0.78, 0.68),
    (0.88, 0.70, 0.57),
    (0.79, 0.60, 0.45),
    (0.64, 0.45, 0.32),
    (0.47, 0.32, 0.23),
    (0.33, 0.22, 0.16),
)
_PATTERNS = ("plain", "stripes", "bars", "checks", "two-tone", "print")


@dataclass(frozen=True)
class Top:
    """A garment of the torso: names of pattern and colours, cut as in `Shape`."""

    pattern: str
    colour: str
    second: str
    sleeve: float
    ease: float
    hem: float
    coat: float  # share of the leg that its tails cover
    open: bool  # worn open over a shirt of the second colour


@dataclass(frozen=True)
class Bottom:
    """A garment of the legs: names of pattern and colours, cut as in `Shape`."""

    kind: str  # trousers, shorts or skirt
    pattern: str
    colour: str
    second: str
    length: float
    ease: float


@dataclass(frozen=True)
class Identity:
    """One person: build and clothes."""

    shape: Shape
    top: Top
    bottom: Bottom
    shoes: tuple[str, bool]  # colour; boots
    hair: int
    skin: int
    bag: str
    face_hair: bool
    texture_seed: int

    def outfit(self) -> tuple[object, ...]:
        """The items that distinguish two identities."""
        return (
            self.top,
            self.bottom,
            self.shoes,
            (self.hair, round(self.shape.hair, 1)),
            (self.shape.bag, self.bag),
        )


def _popular(rng: np.random.Generator, count: int) -> int:
    """Draw an index below `count`, the first third about twice as often as the rest."""
    return int(min(rng.integers(count), rng.integers(2 * count)))


def _second(rng: np.random.Generator, colour: str) -> str:
    return str(rng.choice([name for name in COLOURS if name != colour]))


def _make_top(rng: np.random.Generator) -> Top:
    colour = str(rng.choice(_TOP_COLOURS))
    coat = float(rng.choice([0, 0, 0, 0, 0, 0.25, 0.45]))
    sleeve = 0.73 if coat else float(rng.choice([0.14, 0.30, 0.36, 0.52, 0.73, 0.73]))
    long = sleeve > 0.6
    return Top(
        str(rng.choice(_PATTERNS, p=[0.42, 0.13, 0.08, 0.11, 0.13, 0.13])),
        colour,
        _second(rng, colour),
        sleeve,
        float(rng.uniform(0.010, 0.026 if long else 0.016)),
        float(rng.uniform(0.490, 0.545)),
        coat,
        bool(long and rng.random() < 0.3),
    )


def _make_bottom(rng: np.random.Generator) -> Bottom:
    colour = str(rng.choice(_BOTTOM_COLOURS))
    kind = str(rng.choice(["trousers", "shorts", "skirt"], p=[0.62, 0.22, 0.16]))
    length = {
        "trousers": float(rng.choice([1.1, 1.1, 1.1, 0.82])),
        "shorts": float(rng.uniform(0.34, 0.56)),
        "skirt": float(rng.uniform(0.40, 0.75)),
    }[kind]
    pattern = str(rng.choice(["plain", "side", "checks"], p=[0.74, 0.16, 0.10]))
    return Bottom(
        kind,
        pattern,
        colour,
        _second(rng, colour),
        length,
        float(rng.choice([0.004, 0.012, 0.022])),
    )


def draw_identities(count: int, seed: int, tops: int = 20, bottoms: int = 12) -> list[Identity]:
    """Draw `count` people who share `tops` tops and `bottoms` bottoms.

    Raises:
        ValueError: the wardrobe is too small to distinguish that many people.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    all_tops = [_make_top(rng) for _ in range(tops)]
    all_bottoms = [_make_bottom(rng) for _ in range(bottoms)]
    people: list[Identity] = []
    by_item: dict[tuple[int, object], list[int]] = {}
    refused = 0  # in a row
    while len(people) < count:
        if refused > 500:
            raise ValueError(f"{tops} tops and {bottoms} bottoms are too few for {count} people")
        person = _draw(rng, all_tops[_popular(rng, tops)], all_bottoms[_popular(rng, bottoms)])
        outfit = person.outfit()
        shared = np.zeros(len(people), np.int64)
        for item in enumerate(outfit):
            shared[by_item.get(item, [])] += 1
        if len(people) and shared.max() > len(outfit) - 2:
            refused += 1
            continue
        refused = 0
        for item in enumerate(outfit):
            by_item.setdefault(item, []).append(len(people))
        people.append(person)
    return people


def _draw(rng: np.random.Generator, top: Top, bottom: Bottom) -> Identity:
    hips = float(np.clip(rng.choice([0.2, 0.8]) + rng.normal(0, 0.12), 0, 1))
    if bottom.kind == "skirt":
        hips = max(hips, 0.6)
    feminine = hips > 0.5
    hair = float(rng.choice([0.3, 0.6, 0.9, 1.0] if feminine else [0.0, 0.1, 0.2, 0.4]))
    bag = str(rng.choice(["", "backpack", "shoulder", "hand"], p=[0.52, 0.24, 0.14, 0.10]))
    skirt = bottom.length if bottom.kind == "skirt" else top.coat
    shape = Shape(
        height=float(np.clip(rng.normal(1.66 if feminine else 1.77, 0.07), 1.48, 1.98)),
        build=float(np.clip(rng.normal(0.0, 0.5), -1, 1.2)),
        hips=hips,
        hem=top.hem,
        sleeve=top.sleeve,
        trousers=0.05 if bottom.kind == "skirt" else bottom.length,
        top_ease=top.ease,
        leg_ease=bottom.ease if bottom.kind == "trousers" else 0.018,
        skirt=skirt,
        coat=bottom.kind != "skirt" and top.coat > 0,
        hair=hair,
        bag=bag,
        bag_side=int(rng.choice([-1, 1])),
        age=float(rng.choice([0.60, 0.67, 0.67, 0.67, 0.78, 0.92]) + rng.uniform(-0.03, 0.03)),
        muscle=float(rng.uniform(0.3, 0.75)),
        proportions=float(rng.uniform(0.3, 0.8)),
        boots=bool(rng.random() < 0.15),
    )
    return Identity(
        shape,
        top,
        bottom,
        (str(rng.choice(_SHOE_COLOURS)), shape.boots),
        int(rng.choice(len(HAIR_COLOURS), p=_HAIR_SHARES)),
        int(rng.choice(len(SKINS))),
        str(rng.choice(_BAG_COLOURS)) if bag else "",
        bool(not feminine and rng.random() < 0.3),
        int(rng.integers(2**31)),
    )

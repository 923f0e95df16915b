"""Clothes, shoes, hair and bags, cut from the body's surface or added to it."""

import numpy as np

from .anatomy import Shape
from .skeleton import BONES
from .surface import Surface, V, clip, joined, lipped

PARTS = ("head", "torso", "arms", "legs", "feet", "bag")
"""Names of the mask values 1, 2, …; 0 is background."""
HEAD, TORSO, ARMS, LEGS, FEET, BAG = range(1, 7)

TILES = ("torso", "arm", "leg", "foot", "head", "hair", "skirt", "bag")
"""Names of the texture tiles that faces refer to."""

TORSO_SPAN = (0.45, 0.42)
"""Height of the torso tile's lower edge and its extent, shares of stature."""
HEAD_SPAN = (0.82, 0.18)
ARM_SPAN = 1.1  # the arm tile, in arms from the fingertips up: it reaches over the shoulder joint
_EDGE = 0.014  # how far (v) a hem's colour is taken from inside the cloth


def hairline(u: np.ndarray, hair: float) -> np.ndarray:
    """Compute the height v (V,) of the hairline on the head tile, by direction u."""
    front = np.clip(np.sin(2 * np.pi * u) * 1.25 + 0.15, -1, 1) * 0.5 + 0.5
    nape = 0.46 - 0.10 * min(hair, 0.5)
    ear = 0.16 * np.exp(-((((u + 0.28) % 0.5 - 0.25) / 0.035) ** 2)) * (hair < 0.5)
    return nape + (0.87 - nape) * front**1.6 + ear


def dress(shape: Shape, naked: Surface, joints: np.ndarray) -> list[Surface]:
    """Cut the pieces of the clothed figure.

    Args:
        shape: build and cut.
        naked: the body, with tiles torso, arm, leg, foot and head; after the bones its weights
            have a column for what hangs from the left hand, and one for the right.
        joints: (B, 3) in the neutral pose.
    """
    torso, arm, leg, foot, head = (naked.only(naked.tile == i) for i in range(5))
    pieces = [
        *_top(shape, torso, arm),
        *_trousers(shape, torso, leg, joints),
        _shoes(shape, foot, leg),
        *_head(shape, head),
    ]
    if shape.hair >= 0.5:
        pieces.append(_long_hair(shape, head.points, torso.table[:, 3:6], naked.weights.shape[1]))
    if shape.bag:
        pieces.append(_bag(shape, joints, torso.table[:, 3:6], naked.weights.shape[1]))
    return pieces


def stand_off(piece: Surface, ease: np.ndarray | float, level: float = 0.0) -> np.ndarray:
    """Place cloth (V, 3) at `ease` metres from the body; hems below `level` stay level."""
    cloth, out = piece.table[:, 3:6], piece.table[:, 6:9].copy()
    if level:
        out[:, 2] *= np.clip((cloth[:, 2] - level) / 0.08, 0, 1)
    points: np.ndarray = cloth + np.broadcast_to(ease, len(cloth))[:, None] * out
    return points


def _waistline(shape: Shape) -> float:
    """Compute the hem of the top, as v of the torso."""
    return (shape.top_hem - TORSO_SPAN[0]) / TORSO_SPAN[1]


def _leg_hem(shape: Shape) -> float:
    """Compute the hem of the trousers, as v of the leg; they are short below a skirt."""
    return min(1 - shape.trousers, 0.75)


def _boot_top(shape: Shape) -> float:
    """Compute the top of boots, as v of the leg: at the trousers, or below the knee."""
    return min(0.36, max(_leg_hem(shape), 0.02))


def _top(shape: Shape, torso: Surface, arm: Surface) -> list[Surface]:
    """The top with its sleeves, and the bare arms."""
    hem, cuff = _waistline(shape), (1 - shape.sleeve) / ARM_SPAN
    body, sleeves = clip(torso, torso.v - hem), clip(arm, arm.v - cuff)
    # Hems flare; no flare is left where sleeves are set in, or below a skirt or a coat's tails.
    above = np.clip((body.v - hem) / 0.25 + (shape.skirt > 0), 0, 1)
    loose = 1.5 - 0.5 * above
    if shape.tucked:
        loose *= np.clip(0.2 + (body.v - hem) / 0.25, 0, 1)
    along = np.clip((sleeves.v - cuff) / max(min(0.25, 0.86 - cuff), 0.02), 0, 1)
    flare = -0.5 if shape.sleeve > 0.6 else 0.5  # long sleeves close at the wrist
    top = joined(body, sleeves)
    ease = shape.top_ease * np.concatenate([loose, 1 + flare * (1 - along)])
    top.points = stand_off(top, ease, 0.74 * shape.height)
    edge = np.repeat([hem, cuff], [len(body.v), len(sleeves.v)]) + _EDGE
    top.table[:, V] = np.maximum(top.v, edge)
    return [lipped(top), clip(arm, cuff + 0.03 - arm.v)]


def _trousers(shape: Shape, torso: Surface, leg: Surface, joints: np.ndarray) -> list[Surface]:
    """Trousers or shorts from below the top on, and the bare legs."""
    hem = _leg_hem(shape)
    waist, legs = clip(torso, _waistline(shape) + 0.04 - torso.v), clip(leg, leg.v - hem)
    trousers = joined(waist, legs)
    trousers.part[:] = LEGS
    trousers.table[len(waist.v) :, V] = np.maximum(legs.v, hem + _EDGE)
    trousers.points = _hanging(trousers, len(waist.v), shape, joints)
    if hem <= 0:
        return [lipped(trousers)]
    bare = clip(leg, hem + 0.05 - leg.v)
    if shape.boots:  # no skin inside, it would show through where the shaft bends
        bare = clip(bare, bare.v - _boot_top(shape) + 0.05)
    return [lipped(trousers), bare]


def _shoes(shape: Shape, foot: Surface, leg: Surface) -> Surface:
    """Shoes, or the part of boots that the trousers do not cover."""
    shoes = foot
    if shape.boots:
        shaft = clip(leg, _boot_top(shape) - leg.v)
        shaft.table[:, V], shaft.tile[:], shaft.part[:] = 0.95, TILES.index("foot"), FEET
        shoes = joined(foot, shaft)
    shoes.points = stand_off(shoes, 0.006)
    shoes.points[:, 2] = np.maximum(shoes.points[:, 2], -0.012)
    return lipped(shoes)


def _head(shape: Shape, head: Surface) -> list[Surface]:
    """Face and neck, and the hair on the scalp."""
    above = head.v - hairline(head.u, shape.hair)
    scalp = clip(head, above)
    rise = np.clip((scalp.v - hairline(scalp.u, shape.hair)) / 0.15, 0, 1)
    scalp.points = stand_off(scalp, 0.004 + (0.006 + 0.020 * shape.hair) * rise)
    scalp.tile[:] = TILES.index("hair")
    return [clip(head, 0.05 - above), lipped(scalp)]


def _hanging(trousers: Surface, waist: int, shape: Shape, joints: np.ndarray) -> np.ndarray:
    """Trousers: on the body at the thigh, then straight down to an opening at the hem.

    The first `waist` vertices lie on the trunk.
    """
    out = stand_off(trousers, 0.35 * shape.leg_ease + 0.002, shape.height)
    on_leg = np.arange(len(out)) >= waist
    for letter, side in (("L", -1), ("R", 1)):
        mine = np.flatnonzero(on_leg & (trousers.points[:, 0] * side > 0))
        v = trousers.v[mine]
        chain = joints[[BONES.index(f"{b}.{letter}") for b in ("foot", "shin", "thigh")]]
        axis = np.stack([np.interp(out[mine, 2], chain[:, 2], chain[:, k]) for k in (0, 1)], 1)
        spoke = out[mine, :2] - axis
        radius = np.linalg.norm(spoke, axis=1)
        upper = np.quantile(radius[v > 0.7], 0.6)
        wide = upper + np.clip(1 - v / 0.8, 0, 1) * (0.052 + 2.4 * shape.leg_ease - upper)
        extra = np.clip(wide - radius, 0, None) * np.clip((0.86 - v) / 0.1, 0, 1)
        out[mine, :2] += (extra / np.maximum(radius, 1e-6))[:, None] * spoke
        if shape.trousers > 1:  # they rest on the shoe
            out[mine, 2] -= 0.028 * np.clip(1 - v / 0.15, 0, 1)
    return out


def _tube(grid: np.ndarray, v: np.ndarray, around: np.ndarray, weights: np.ndarray) -> Surface:
    """A closed tube of rings (n, m, 3), upwards and counter-clockwise, that repeat no column."""
    n, m = grid.shape[:2]
    columns = np.arange(m)
    a = (np.arange(n - 1)[:, None] * m + columns).ravel()
    b = (np.arange(n - 1)[:, None] * m + (columns + 1) % m).ravel()
    faces = np.concatenate([np.stack([a, b, b + m], 1), np.stack([a, b + m, a + m], 1)])
    points = grid.reshape(-1, 3)
    chart = np.concatenate([np.tile(around, (n, 1)), np.repeat(v, m)[:, None]], 1)
    table = np.concatenate([points, points, 0 * points, chart, weights], 1)
    none = np.zeros(len(faces), np.int64)
    return Surface(table, faces, none, none.copy(), points)


def _long_hair(shape: Shape, head: np.ndarray, torso: np.ndarray, bones: int) -> Surface:
    """A curtain round the back of the head that falls onto the back."""
    height = shape.height
    skull = head[np.abs(head[:, 2] - 0.955 * height) < 0.02 * height]
    centre = (skull[:, 1].min() + skull[:, 1].max()) / 2
    half, behind = np.abs(skull[:, 0]).max() + 0.008, centre - skull[:, 1].min() + 0.016
    end = float(np.interp(shape.hair, [0.5, 0.6, 0.9, 1.0], [0.865, 0.845, 0.79, 0.735]))
    z = np.linspace(end, 0.965, 9) * height
    level = np.abs(torso[:, 2] - z[:, None]) < 0.05
    middle = np.abs(torso[:, 0]) < 0.09
    trunk = np.where(level & middle, -torso[:, 1], -1).max(1) + centre + shape.top_ease + 0.018
    depth = np.maximum(behind, np.minimum(trunk, behind + 0.08))
    fall = np.clip((0.93 - z / height) / 0.10, 0, 1)
    reach = np.where(z < 0.94 * height, 0.40, 0.0) - 0.60 * fall  # forward of the ears, radians
    angle = -reach[:, None] + np.linspace(0, 1, 9) * (np.pi + 2 * reach)[:, None]
    back, across = -np.sin(angle), np.cos(angle)
    # On the shoulders the sides lie as far back as the middle.
    flat = np.sign(back) * np.abs(back) ** (1 - 0.8 * fall)[:, None]
    narrow = np.where(np.arange(9) == 8, 0.86, 1)[:, None]
    outer = np.stack([half * across * narrow, centre + (depth[:, None] * narrow) * flat], -1)
    thick = 0.035 * np.where(np.arange(9) == 0, 0.1, 1)[:, None, None]
    inner = outer - thick * np.stack([across, back], -1)
    ring = np.concatenate([outer, inner[:, ::-1]], 1)[:, ::-1]
    grid = np.concatenate([ring, np.broadcast_to(z[:, None, None], (*ring.shape[:2], 1))], -1)
    weights = np.zeros((grid.shape[0] * grid.shape[1], bones))
    low = np.repeat(np.clip((0.90 - z / height) / 0.07, 0, 1), grid.shape[1])
    weights[:, BONES.index("chest")], weights[:, BONES.index("head")] = low, 1 - low
    around = np.stack([across[-1], back[-1]], 1)
    tube = _tube(
        grid, np.linspace(0, 0.7, 9), np.concatenate([around, around[::-1]])[::-1], weights
    )
    tube.tile[:], tube.part[:] = TILES.index("hair"), HEAD
    return tube


def _bag(shape: Shape, joints: np.ndarray, torso: np.ndarray, bones: int) -> Surface:
    """A rounded box behind the back, at the hip or below a hand."""
    lid = np.array([0.02, 0.85, 1.0, 1.0, 1.0, 0.98, 0.75, 0.02])[:, None]
    rise = np.array([0.0, 0.01, 0.12, 0.4, 0.7, 0.9, 0.99, 1.0])
    size = {
        "backpack": (0.155, 0.085, 0.43),
        "shoulder": (0.045, 0.15, 0.27),
        "hand": (0.05, 0.15, 0.28),
    }[shape.bag]
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    around = np.stack([np.cos(angle), np.sin(angle)], 1)
    ring = around * (around**4).sum(1, keepdims=True) ** -0.25 * size[:2]
    grid = np.concatenate(
        [ring * lid[..., None], np.broadcast_to((rise * size[2])[:, None, None], (8, 14, 1))], -1
    )
    weights = np.zeros((8 * 14, bones))
    letter = "LR"[(shape.bag_side + 1) // 2]
    if shape.bag == "hand":
        hand = joints[BONES.index(f"hand.{letter}")]
        place = hand + np.array([0, 0.03, -0.10 - size[2]])
        weights[:, len(BONES) + "LR".index(letter)] = 1
    elif shape.bag == "backpack":
        back = -torso[torso[:, 2] > 0.62 * shape.height, 1].min() + shape.top_ease
        place = np.array([0, -back - 0.8 * size[1], 0.815 * shape.height - size[2]])
        weights[:, BONES.index("chest")] = 1
    else:
        level = np.abs(torso[:, 2] - 0.55 * shape.height) < 0.08
        outside = np.abs(torso[level, 0]).max() + shape.top_ease
        place = np.array(
            [shape.bag_side * (outside + size[0]), -0.08, 0.60 * shape.height - size[2]]
        )
        weights[:, BONES.index("pelvis")] = 1
    bag = _tube(grid + place, rise, around, weights)
    bag.tile[:], bag.part[:] = TILES.index("bag"), BAG
    return bag

"""What a person's clothes, skin and hair look like: one texture tile for each part of the body."""

import numpy as np
from PIL import Image

from .body import TILES
from .wardrobe import COLOURS, HAIR_COLOURS, SKINS, Identity

TEXELS = 80


def _noise(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Smooth noise (T, T) in [-1, 1], periodic around the tube."""
    grid = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    twice = Image.fromarray(np.concatenate([grid, grid], 1)).resize(
        (2 * TEXELS, TEXELS), Image.Resampling.BILINEAR
    )
    return np.asarray(twice)[:, TEXELS // 2 : TEXELS // 2 + TEXELS]


def _cloth(
    pattern: str, colour: str, second: str, around: np.ndarray, up: np.ndarray, split: float
) -> np.ndarray:
    """A pattern over metres `around` and `up`, (T, T, 3)."""
    first, other = np.array(COLOURS[colour]), np.array(COLOURS[second])
    if pattern == "stripes":
        share = ((up / 0.11) % 1 < 0.42) * 1.0
    elif pattern == "bars":
        share = ((around / 0.10) % 1 < 0.35) * 1.0
    elif pattern == "checks":
        share = 0.5 * ((up / 0.12) % 1 < 0.5) + 0.5 * ((around / 0.12) % 1 < 0.5)
    elif pattern == "two-tone":
        share = (up > split) * 1.0
    else:
        share = np.zeros_like(up)
    return first + share[..., None] * (other - first)


def textures(person: Identity) -> np.ndarray:
    """Texture tiles (len(TILES), T, T, 3) float32: rows run up the tube, columns around it."""
    rng = np.random.default_rng(person.texture_seed)
    v, u = np.meshgrid(*[(np.arange(TEXELS) + 0.5) / TEXELS] * 2, indexing="ij")
    top, bottom, shape = person.top, person.bottom, person.shape
    skin = np.array(SKINS[person.skin])
    hair = np.array(HAIR_COLOURS[person.hair])
    shoe = np.array(COLOURS[person.shoes[0]])
    folds = {
        name: 1 + 0.07 * _noise(rng, rows, columns) + 0.04 * _noise(rng, 24, 16)
        for name, rows, columns in (
            ("torso", 7, 9),
            ("arm", 10, 5),
            ("leg", 9, 6),
            ("skirt", 2, 22),
            ("hair", 2, 30),
            ("bag", 4, 4),
        )
    }

    def facing(centre: float, half: float) -> np.ndarray:
        return np.abs((u - centre + 0.5) % 1 - 0.5) < half

    def bottoms(around: np.ndarray, up: np.ndarray) -> np.ndarray:
        pattern = "plain" if bottom.pattern == "side" else bottom.pattern
        return _cloth(pattern, bottom.colour, bottom.second, around, up, 9.0)

    height = 0.462 + v * 0.394
    torso = _cloth(top.pattern, top.colour, top.second, u * 1.0, v * 0.68, 0.42)
    if top.pattern == "print":
        blob = (((u - 0.25) / 0.085) ** 2 + ((height - 0.71) / 0.045) ** 2) < 1
        back = (((u - 0.75) / 0.10) ** 2 + ((height - 0.74) / 0.02) ** 2) < 1
        torso[blob | back] = COLOURS[top.second]
    if top.open:
        torso[facing(0.25, 0.055)] = COLOURS["white" if top.second == top.colour else top.second]
    torso[height > 0.848 - 0.02 * facing(0.25, 0.06)] = skin
    below = height < shape.hem
    torso[below] = bottoms(u, v)[below]
    torso[(height < shape.hem + 0.008) & ~below] *= 0.75
    torso *= folds["torso"][..., None]
    if shape.bag == "backpack":
        torso[(facing(0.25 - 0.10, 0.022) | facing(0.25 + 0.10, 0.022)) & (height > 0.66)] = (
            0.8 * np.array(COLOURS[person.bag])
        )
    elif shape.bag == "shoulder":
        slope = (height - 0.56) / 0.26 * shape.bag_side
        across = facing(0.25, 0.25) & (
            np.abs((u - 0.25) / 0.20 - slope + 0.5 * shape.bag_side) < 0.09
        )
        behind = facing(0.75, 0.25) & (
            np.abs((u - 0.75) / 0.20 + slope - 0.5 * shape.bag_side) < 0.09
        )
        torso[(across | behind) & (height > 0.54)] = 0.8 * np.array(COLOURS[person.bag])

    arm = (
        _cloth(
            "plain" if top.pattern in ("print", "two-tone") else top.pattern,
            top.colour,
            top.second,
            u * 0.3,
            v * 0.73,
            9.0,
        )
        * folds["arm"][..., None]
    )
    if top.pattern == "two-tone":
        arm[v > 0.72] = np.array(COLOURS[top.second]) * folds["arm"][v > 0.72][:, None]
    arm[v < 1 - top.sleeve] = skin
    arm[v < 0.20] = skin * 0.97

    leg = bottoms(u * 0.5, v * 0.85)
    if bottom.pattern == "side":
        leg[facing(0.0, 0.06) | facing(0.5, 0.06)] = COLOURS[bottom.second]
    leg *= folds["leg"][..., None]
    leg[v < 1 - shape.trousers] = skin
    if person.shoes[1]:
        leg[v < 0.45 * (shape.trousers < 1)] = shoe
    elif shape.trousers < 1:
        leg[v < 0.07] = COLOURS["white"]

    foot = np.broadcast_to(shoe, (*u.shape, 3)).copy()
    foot[facing(0.75, 0.2)] = np.array(COLOURS["white" if shoe.mean() < 0.6 else "charcoal"]) * 0.8

    head = np.broadcast_to(skin, (*u.shape, 3)).copy()
    tall = 0.835 + v * 0.165
    head[(tall > 0.968) | ((tall > 0.90) & facing(0.75, 0.22))] = hair
    for eye in (0.25 - 0.062, 0.25 + 0.062):
        head[facing(eye, 0.026) & (np.abs(tall - 0.931) < 0.0035)] = (0.12, 0.10, 0.10)
        head[facing(eye, 0.034) & (np.abs(tall - 0.942) < 0.0025)] = hair * 0.9
    head[facing(0.25, 0.018) & (np.abs(tall - 0.916) < 0.005)] *= 0.86
    head[facing(0.25, 0.045) & (np.abs(tall - 0.898) < 0.003)] = skin * [0.80, 0.55, 0.55]
    if person.face_hair:
        head[facing(0.25, 0.2) & (tall > 0.872) & (tall < 0.894)] = 0.5 * skin + 0.5 * hair
    head[tall < 0.866] *= 0.85

    locks = (
        np.broadcast_to(hair, (*u.shape, 3))
        * (folds["hair"] + 0.10 * (np.abs(v - 0.7) < 0.12))[..., None]
    )
    if shape.coat:
        skirt = _cloth(
            "plain" if top.pattern in ("print", "two-tone") else top.pattern,
            top.colour,
            top.second,
            u,
            v * 0.5,
            9.0,
        )
        if top.open:
            skirt[facing(0.25, 0.03)] = COLOURS[bottom.colour]
    else:
        skirt = bottoms(u, v * 0.5)
    skirt = skirt * folds["skirt"][..., None]
    bag = np.broadcast_to(COLOURS[person.bag or "black"], (*u.shape, 3)) * folds["bag"][..., None]
    bag[np.abs(v - 0.62) < 0.02] *= 0.6
    tiles = dict(
        torso=torso, arm=arm, leg=leg, foot=foot, head=head, hair=locks, skirt=skirt, bag=bag
    )
    return np.clip(np.stack([tiles[name] for name in TILES]), 0, 1).astype(np.float32)

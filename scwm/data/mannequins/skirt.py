"""Skirts and the tails of coats: a bell that holds both legs of every pose."""

import numpy as np

from .anatomy import Shape
from .garments import LEGS, TILES, TORSO
from .skeleton import BONES
from .surface import Surface

_ROWS, _AROUND = 8, 24


class Skirt:
    """A bell of rows x columns vertices; the last column repeats the first.

    Attributes:
        faces: (F, 3) of the bell alone.
        chart: (V, 3) as in `Surface`.
        part: LEGS for a skirt, TORSO for a coat.
    """

    def __init__(self, shape: Shape, naked: Surface, joints: np.ndarray) -> None:
        self.part = TORSO if shape.coat else LEGS
        self._legs = [
            [BONES.index(f"{bone}.{letter}") for bone in ("thigh", "shin", "foot")]
            for letter in "LR"
        ]
        hip, ankle = (joints[self._legs[0][k], 2] for k in (0, 2))
        top = (0.62 if shape.coat else 0.605) * shape.height
        self._z = np.linspace(top, hip - shape.skirt * (hip - ankle), _ROWS)
        angle = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
        self._out = np.stack([np.cos(angle), np.sin(angle)], 1)
        fall = (top - self._z) / (top - self._z[-1])
        self._ease = shape.top_ease + 0.014 + 0.025 * fall
        if shape.coat:
            self._ease += 1.5 * shape.leg_ease * fall  # room for trousers
            self._ease[0] = shape.top_ease - 0.004  # it leaves the top without a step
        # Folds deepen towards the hem.
        self._folds = (0.008 * fall**2)[:, None] * np.cos(7 * angle + 1.0)
        cloth = naked.only(naked.tile == TILES.index("torso")).table[:, 3:6]
        reach = cloth[:, :2] @ self._out.T
        near = np.abs(cloth[:, 2] - self._z[:, None]) < 0.05
        self._trunk = np.where(near[..., None], reach, -1).max(1)
        leg = naked.only(naked.tile == TILES.index("leg")).points
        share = np.linspace(0, 1, 12)
        self._radius = []  # of the left and the right leg: (shares, directions)
        for side, bones in zip((-1, 1), self._legs, strict=True):
            points = leg[leg[:, 0] * side > 0]
            reach = (points[:, :2] - _level(points[:, 2], joints[None, bones])[0]) @ self._out.T
            near = np.abs((hip - points[:, 2]) / (hip - ankle) - share[:, None]) < 0.12
            self._radius.append(np.where(near[..., None], reach, 0.03).max(1))
        self._span, self._pelvis = (share, hip, ankle), joints[0]
        columns = np.arange(_AROUND)
        corner = (np.arange(_ROWS - 1)[:, None] * (_AROUND + 1) + columns).ravel()
        right_of, below = corner + 1, corner + _AROUND + 1
        self.faces = np.concatenate(
            [
                np.stack([below, below + 1, right_of], 1),
                np.stack([below, right_of, corner], 1),
            ]
        )
        ring = np.concatenate([self._out, self._out[:1]])
        self.chart = np.concatenate(
            [np.tile(ring, (_ROWS, 1)), np.repeat(1 - fall, _AROUND + 1)[:, None]], 1
        )

    def hang(self, placed: np.ndarray, world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute vertices and normals (N, V, 3) around the legs of N poses.

        Args:
            placed: (N, B, 3) joints.
            world: (N, B, 3, 3) rotations of the bones.
        """
        pelvis = placed[:, 0]
        z = self._z - self._pelvis[2] + pelvis[:, 2:]  # (N, rows)
        share, hip, ankle = self._span
        at = (hip - self._z) / (hip - ankle)
        nearest = np.clip(np.rint(at * (len(share) - 1)), 0, len(share) - 1).astype(int)
        reach = [
            (_level(z, placed[:, leg]) - pelvis[:, None, :2]) @ self._out.T
            + np.where(at[:, None] > 0, radius[nearest], -1)
            for leg, radius in zip(self._legs, self._radius, strict=True)
        ]
        support = np.maximum(*reach)
        turn = np.einsum("nij,ai->naj", world[:, 0, :2, :2], self._out)
        around = np.arctan2(turn[..., 1], turn[..., 0]) / (2 * np.pi) * _AROUND % _AROUND
        low, part = np.floor(around).astype(int) % _AROUND, around % 1
        trunk = self._trunk[:, low] * (1 - part) + self._trunk[:, (low + 1) % _AROUND] * part
        support = np.maximum(support, trunk.transpose(1, 0, 2))
        for row in range(1, _ROWS):  # cloth falls, it does not cling
            support[:, row] = np.maximum(support[:, row], support[:, row - 1] - 0.018)
        support = 0.5 * support + 0.25 * (np.roll(support, 1, 2) + np.roll(support, -1, 2))
        support = support + self._ease[:, None]
        slope = (np.roll(support, -1, 2) - np.roll(support, 1, 2)) * _AROUND / (4 * np.pi)
        across = np.stack([-self._out[:, 1], self._out[:, 0]], 1)
        ring = (support + self._folds)[..., None] * self._out + slope[..., None] * across
        ring = ring + pelvis[:, None, None, :2]
        ring = np.concatenate([ring, ring[:, :, :1]], 2)
        height = np.broadcast_to(z[..., None, None], (*ring.shape[:3], 1))
        grid = np.concatenate([ring, height], -1)
        down = np.gradient(grid, axis=1)
        around_ring = np.roll(grid[:, :, :-1], -1, 2) - np.roll(grid[:, :, :-1], 1, 2)
        around_ring = np.concatenate([around_ring, around_ring[:, :, :1]], 2)
        facing = np.cross(down, around_ring)
        facing /= np.maximum(np.linalg.norm(facing, axis=-1, keepdims=True), 1e-12)
        frames = len(grid)
        return grid.reshape(frames, -1, 3), facing.reshape(frames, -1, 3)


def _level(z: np.ndarray, chain: np.ndarray) -> np.ndarray:
    """Compute x, y (N, R, 2) of chains of hip, knee, ankle (N, 3, 3) at heights z (N, R)."""
    z = np.broadcast_to(z, (len(chain), z.shape[-1]))
    out = np.repeat(chain[:, :1, :2], z.shape[1], axis=1)
    for upper, lower in ((chain[:, 0], chain[:, 1]), (chain[:, 1], chain[:, 2])):
        drop = np.maximum(upper[:, 2] - lower[:, 2], 0.05)
        share = np.clip((upper[:, 2:] - z) / drop[:, None], 0, 1)
        out = out + share[..., None] * (lower - upper)[:, None, :2]
    return out

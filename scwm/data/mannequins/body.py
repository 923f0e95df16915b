"""An articulated figure made of lofted tubes: shape and pose in, mesh and part labels out.

The frame is the figure's own, in metres: x to its right, y the way it walks, z up, soles at 0.
Every limb is one tube over a smoothed chain of joints, so bending a knee opens no hole. All tubes
run upwards (limbs from their tip to the trunk), which makes every face turn outwards the same way.
A scanned or skinned body can take this module's place: `render` needs only what `Body` offers.
"""

import numpy as np

from .anatomy import (
    ANKLE,
    ARM_LENGTH,
    ARM_TABLE,
    FOOT_LENGTH,
    FOOT_TABLE,
    FOREARM,
    HAND,
    HEAD_TABLE,
    HIP,
    KNEE,
    LEG_TABLE,
    NECK,
    SHOULDER,
    TORSO_TABLE,
    UPPER_ARM,
    Pose,
    Shape,
    direction,
    gait,
)
from .loft import chain_weights, grid_normals, loft, sections, stack, swell

PARTS = ("head", "torso", "arms", "legs", "feet", "bag")
"""Names of the mask values 1, 2, …; 0 is background."""
HEAD, TORSO, ARMS, LEGS, FEET, BAG = range(1, 7)

TILES = ("torso", "arm", "leg", "foot", "head", "hair", "skirt", "bag")
"""Names of the texture tiles that faces refer to."""


class Body:
    """The mesh of one figure.

    Attributes:
        faces: (F, 3) vertex indices, counter-clockwise seen from outside.
        parts: (F,) part of each face, 1…6 as in `PARTS`.
        tiles: (F,) index of each face's texture tile, as in `TILES`.
        uv: (V, 2) texture coordinates in [0, 1]: around (0.25 = front, 0.75 = back), upwards.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._grids: list[tuple[int, int]] = []
        faces, parts, tiles, uv, start = [], [], [], [], 0
        for part, tile, v, around in self._plan():
            n, m = len(v), around + 1
            corner = (np.arange(n - 1)[:, None] * m + np.arange(around)).ravel() + start
            a, b, c, d = corner, corner + 1, corner + m + 1, corner + m
            faces.append(np.stack([a, b, c, a, c, d], 1).reshape(-1, 3))
            parts.append(np.repeat(np.broadcast_to(part, n - 1), 2 * around))
            tiles.append(np.full(len(faces[-1]), TILES.index(tile)))
            u = np.broadcast_to(np.linspace(0, 1, m), (n, m))
            uv.append(np.stack([u, np.broadcast_to(v[:, None], (n, m))], -1).reshape(-1, 2))
            self._grids.append((n, m))
            start += n * m
        self.faces = np.concatenate(faces)
        self.parts = np.concatenate(parts).astype(np.uint8)
        self.tiles = np.concatenate(tiles)
        self.uv = np.concatenate(uv)

    def _plan(self) -> list[tuple[np.ndarray | int, str, np.ndarray, int]]:
        """Part (of each row of faces), tile, v of each ring and columns of every tube, in order."""
        s = self.shape
        self._torso_z = np.sort(np.append(TORSO_TABLE[:, 0], [s.hem - 0.002, s.hem + 0.002]))
        cuff, hem = 1 - s.sleeve, 1 - s.trousers
        self._arm_s = np.sort(np.append(ARM_TABLE[:, 0], [cuff - 0.01, cuff + 0.01]))
        self._arm_s = self._arm_s[self._arm_s >= 0]
        self._leg_s = np.sort(np.append(LEG_TABLE[:, 0], [hem - 0.008, hem + 0.008, 0.46, 0.54]))
        self._leg_s = self._leg_s[self._leg_s >= -0.02]
        below = np.where(self._torso_z[:-1] < s.hem, LEGS, TORSO)
        lo, hi = TORSO_TABLE[0, 0], TORSO_TABLE[-1, 0]
        head_v = (HEAD_TABLE[:, 0] - HEAD_TABLE[0, 0]) / (1 - HEAD_TABLE[0, 0])
        plan: list[tuple[np.ndarray | int, str, np.ndarray, int]] = [
            (below, "torso", (self._torso_z - lo) / (hi - lo), 20),
            (HEAD, "head", head_v, 16),
            (HEAD, "hair", np.linspace(0, 1, 11), 16),
        ]
        for _ in range(2):
            plan += [
                (ARMS, "arm", self._arm_s, 12),
                (LEGS, "leg", self._leg_s, 14),
                (FEET, "foot", FOOT_TABLE[:, 0], 10),
            ]
        if s.skirt:
            plan.append((TORSO if s.coat else LEGS, "skirt", np.linspace(0, 1, 7), 20))
        if s.bag:
            plan.append((BAG, "bag", np.linspace(0, 1, 8), 14))
        return plan

    def pose(self, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
        """Vertices and unit normals (N, V, 3) of the figure in N poses."""
        s, height = self.shape, self.shape.height
        frames = len(pose.phase)
        swing = pose.stride * 0.12 * np.cos(2 * np.pi * pose.phase)  # shoulders against hips

        def upper(points: np.ndarray) -> np.ndarray:
            """Lean and twist of whatever sits on the trunk; points (N, …, 3)."""
            extra = (1,) * (points.ndim - 2)
            above = np.clip((points[..., 2] / height - HIP) / (SHOULDER - HIP), -0.2, 1.2)
            twist = -(swing.reshape(-1, *extra)) * above
            x, y, z = points[..., 0], points[..., 1], points[..., 2]
            y_turned = x * np.sin(twist) + y * np.cos(twist)
            forward = pose.lean.reshape(-1, *extra) * above * (SHOULDER - HIP) * height
            return np.stack([x * np.cos(twist) - y * np.sin(twist), y_turned + forward, z], -1)

        straight = np.zeros((frames, 1, 3))
        torso_rings = self._torso_sections()
        grids = [upper(straight[:, :, None] + stack(torso_rings, self._torso_z * height))]
        head, hair = self._head(pose.head_yaw)
        grids += [upper(head), upper(hair)]

        broad = 1 + 0.10 * (0.5 - s.hips) + 0.05 * s.build
        arm_knots = np.cumsum([0, HAND, FOREARM, UPPER_ARM]) / ARM_LENGTH
        arm_weights = chain_weights(self._arm_s, arm_knots, 0.07)
        leg_weights = chain_weights(self._leg_s, np.array([0, 0.5, 1.0]), 0.09)
        knees, ankles, tips = [], [], []
        for index, side in enumerate((-1, 1)):
            cycle = pose.phase + (0.5 if side > 0 else 0.0)
            shoulder = upper(
                np.broadcast_to(
                    np.array([side * 0.101 * broad, -0.004, SHOULDER]) * height, (frames, 3)
                )[:, None]
            )
            hip_pitch, knee_flex, foot_pitch = gait(cycle, pose.stride)
            pitch = -0.75 * hip_pitch + 0.08 * pose.stride + 0.3 * pose.lean
            out = side * (0.10 + 0.06 * max(s.build, 0) + s.top_ease * 1.5)
            bend = 0.15 + 0.35 * pose.stride * (0.5 + 0.5 * np.sin(pitch)) + pose.elbow[:, index]
            elbow = shoulder[:, 0] + direction(pitch, out) * UPPER_ARM * height
            wrist = elbow + direction(pitch + bend, out * 0.3) * FOREARM * height
            tip = wrist + direction(pitch + bend + 0.1, -0.2 * side) * HAND * height
            joints = np.stack([tip, wrist, elbow, shoulder[:, 0]], 1)
            centres = np.einsum("nj,fjd->fnd", arm_weights, joints)
            grids.append(loft(centres, np.gradient(centres, axis=1), self._arm_sections()))
            tips.append(tip)

            hip = np.broadcast_to(
                np.array([side * (0.048 + 0.004 * s.hips), 0, HIP]) * height, (frames, 3)
            )
            knee = hip + direction(hip_pitch, side * 0.015) * (HIP - KNEE) * height
            ankle = knee + direction(hip_pitch - knee_flex, -side * 0.03) * (KNEE - ANKLE) * height
            centres = np.einsum("nj,fjd->fnd", leg_weights, np.stack([ankle, knee, hip], 1))
            grids.append(loft(centres, np.gradient(centres, axis=1), self._leg_sections()))
            foot_pitch -= 0.25 * np.maximum(knee_flex - 0.5, 0)
            grids.append(self._foot(ankle, foot_pitch, side))
            knees.append(knee)
            ankles.append(ankle)
        if s.skirt:
            grids.append(self._skirt(np.stack(knees, 1), np.stack(ankles, 1)))
        if s.bag:
            bag = self._bag(tips[(s.bag_side + 1) // 2])
            grids.append(bag if s.bag == "hand" else upper(bag))
        vertices = np.concatenate([g.reshape(frames, -1, 3) for g in grids], axis=1)
        normals = np.concatenate([grid_normals(g).reshape(frames, -1, 3) for g in grids], axis=1)
        vertices[..., 2] -= vertices[..., 2].min(axis=1, keepdims=True)
        return vertices, normals

    def _torso_sections(self) -> np.ndarray:
        s = self.shape
        z = self._torso_z
        rings = sections(TORSO_TABLE, z, 20, 2.4) * s.height
        waist = np.exp(-(((z - 0.62) / 0.07) ** 2))
        hip = np.exp(-(((z - 0.52) / 0.06) ** 2))
        chest = np.exp(-(((z - 0.735) / 0.035) ** 2))
        shoulder = np.exp(-(((z - 0.80) / 0.05) ** 2))
        wide = (
            1
            + 0.10 * s.build
            + 0.08 * s.build * waist
            + 0.10 * (s.hips - 0.5) * hip
            - 0.12 * (s.hips - 0.3) * waist
            - 0.10 * (s.hips - 0.5) * shoulder
        )
        deep = 1 + 0.14 * s.build + (0.30 * max(s.build, 0)) * waist
        bust = 1 + 0.35 * max(s.hips - 0.45, 0) * chest
        rings[..., 0] *= wide[:, None]
        rings[..., 1] *= deep[:, None] * np.where(rings[..., 1] > 0, bust[:, None], 1.0)
        neck = np.clip((0.856 - z) / 0.03, 0, 1)
        loose = s.top_ease + 0.010 * np.clip(1 - (z - s.hem) / 0.06, 0, 1)
        return swell(rings, np.where(z > s.hem, loose, 0.002) * neck)

    def _arm_sections(self) -> np.ndarray:
        s = self.shape
        stout = (1 + 0.14 * s.build - 0.1 * s.hips) * s.height
        rings = sections(ARM_TABLE, self._arm_s, 12) * stout
        sleeved = self._arm_s > 1 - s.sleeve
        end = np.clip((1.040 - self._arm_s) / 0.05, 0, 1)
        return swell(rings, np.where(sleeved, s.top_ease * 0.8, 0.0) * end)

    def _leg_sections(self) -> np.ndarray:
        s = self.shape
        stout = (1 + 0.12 * s.build + 0.05 * s.hips) * s.height
        rings = sections(LEG_TABLE, self._leg_s, 14) * stout
        covered = self._leg_s > 1 - s.trousers
        loose = s.leg_ease * np.clip(1.15 - 0.6 * self._leg_s, 0.4, 1.1)
        return swell(rings, np.where(covered, loose, 0.0))

    def _head(self, yaw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Head and hair, turned about the neck; heads vary less than statures do."""
        s = self.shape
        scale = 0.5 * s.height + 0.5 * 1.72
        lift = NECK * (s.height - scale)
        level = HEAD_TABLE[:, 0]
        head = stack(sections(HEAD_TABLE, level, 16) * scale, level * scale + lift)
        angle = np.linspace(0, 2 * np.pi, 17)
        front = np.clip(np.sin(angle) * 1.25 + 0.1, -1, 1) * 0.5 + 0.5  # 1 at the face, 0 behind
        bottom = 0.90 - 0.14 * s.hair
        line = bottom + (0.968 - bottom) * front**1.5
        rows = np.sin(np.linspace(0, np.pi / 2, 11))[:, None]
        z = line + (1.008 - line) * rows
        along = np.clip(0.945 + 0.873 * (z - 0.945), 0.945, 1)  # below the skull, hair hangs
        skull = [np.interp(along, level, HEAD_TABLE[:, i]) for i in (1, 2, 3)]
        thick = 1.07 + 0.10 * s.hair + 0.25 * np.clip(0.92 - z, 0, 1)
        rings = (
            np.stack(
                [
                    skull[0] * np.cos(angle),
                    np.where(np.sin(angle) > 0, skull[1], skull[2]) * np.sin(angle),
                ],
                -1,
            )
            * thick[..., None]
        )
        rings[..., 1] -= 0.05 * np.clip(0.88 - z, 0, 1)
        hair = np.concatenate([rings * scale, (z * scale + lift)[..., None]], -1)
        cos, sin = np.cos(yaw)[:, None, None], np.sin(yaw)[:, None, None]
        turned = []
        for grid in (head, hair):
            x, y = grid[..., 0], grid[..., 1] + 0.012 * scale
            turned.append(
                np.stack(
                    [
                        x * cos - y * sin,
                        x * sin + y * cos,
                        np.broadcast_to(grid[..., 2], (len(yaw), *x.shape)),
                    ],
                    -1,
                )
            )
        return turned[0], turned[1]

    def _foot(self, ankle: np.ndarray, pitch: np.ndarray, side: int) -> np.ndarray:
        height = self.shape.height
        forward = np.stack([np.full(len(pitch), side * 0.12), np.cos(pitch), np.sin(pitch)], -1)
        down = np.stack([np.zeros(len(pitch)), np.sin(pitch), -np.cos(pitch)], -1)
        heel = ankle + (down * 0.024 - forward * 0.035) * height
        reach = (1 - FOOT_TABLE[:, 0])[None, :, None] * forward[:, None] * FOOT_LENGTH * height
        centres = heel[:, None] + reach
        rings = swell(
            sections(FOOT_TABLE, FOOT_TABLE[:, 0], 10, 2.6) * height,
            np.full(len(FOOT_TABLE), 0.004),
        )
        return loft(centres, np.gradient(centres, axis=1), rings)

    def _skirt(self, knees: np.ndarray, ankles: np.ndarray) -> np.ndarray:
        """A bell from the waist down that holds both legs of every frame."""
        s, height = self.shape, self.shape.height
        top = (0.57 if not s.coat else 0.60) * height
        length = s.skirt * (HIP - ANKLE) * height
        z = np.linspace(HIP * height - length, top, 7)
        fall = (top - z) / (top - z[0])
        stout = (1 + 0.14 * s.build + 0.08 * s.hips) * height
        waist = np.interp(z / height, TORSO_TABLE[:, 0], TORSO_TABLE[:, 1])
        width = np.where(z < 0.54 * height, 0.108, waist) * stout + s.top_ease + 0.012 + 0.05 * fall
        y_at_leg = []
        for leg in range(2):
            knee, ankle = knees[:, leg], ankles[:, leg]
            share = (HIP * height - z) / ((HIP - KNEE) * height)
            upper_y = knee[:, 1:2] * np.clip(share, 0, 1)
            lower_y = (ankle - knee)[:, 1:2] * np.clip(share - 1, 0, 1)
            y_at_leg.append(upper_y + lower_y)
        y_legs = np.stack(y_at_leg)
        ease = s.top_ease + 0.012 + 0.02 * fall
        trunk = [np.interp(z / height, TORSO_TABLE[:, 0], TORSO_TABLE[:, i]) for i in (2, 3)]
        deep = [np.where(z < 0.54 * height, 0.070, d) * stout + ease for d in trunk]
        front, back = y_legs.max(0) + deep[0], -y_legs.min(0) + deep[1]
        unit = sections(np.array([[0, 1, 1, 1], [1, 1, 1, 1]]), np.zeros(1), 20, 2.5)[0]
        rings = np.stack(
            [
                np.broadcast_to(width[:, None] * unit[:, 0], (len(knees), 7, 21)),
                np.where(unit[:, 1] > 0, front[..., None], back[..., None]) * unit[:, 1],
            ],
            -1,
        )
        tall = np.broadcast_to(z[:, None], rings.shape[:-1])
        return np.concatenate([rings, tall[..., None]], -1)

    def _bag(self, tip: np.ndarray) -> np.ndarray:
        s, height = self.shape, self.shape.height
        lid = np.array([0.02, 0.85, 1.0, 1.0, 1.0, 0.98, 0.75, 0.02])[:, None, None]
        rise = np.array([0.0, 0.01, 0.12, 0.4, 0.7, 0.9, 0.99, 1.0])
        size = {
            "backpack": (0.155, 0.095, 0.43),
            "shoulder": (0.055, 0.15, 0.27),
            "hand": (0.05, 0.15, 0.28),
        }[s.bag]
        table = np.array([[0, size[0], size[1], size[1]], [1, size[0], size[1], size[1]]])
        rings = sections(table, rise, 14, 4.0) * lid
        bag = stack(rings, rise * size[2])
        depth = (0.062 * (1 + 0.14 * s.build)) * height + s.top_ease
        if s.bag == "hand":
            return bag + (tip + np.array([0, 0, -size[2] - 0.02]))[:, None, None]
        if s.bag == "backpack":
            place = np.array([0, -depth - 0.06, 0.80 * height - size[2]])
        else:
            outside = 0.105 * height * (1 + 0.1 * s.build) + 0.05
            place = np.array([s.bag_side * outside, -0.03, 0.60 * height - size[2]])
        return np.broadcast_to(bag + place, (len(tip), *bag.shape))

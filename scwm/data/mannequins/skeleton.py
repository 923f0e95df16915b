"""The bones of a figure, and their places after rotations about their joints."""

import numpy as np

_TRUNK = {"pelvis": "", "belly": "pelvis", "waist": "belly", "chest": "waist", "neck": "chest"}
_TRUNK["head"] = "neck"
_SIDE = {
    "clavicle": "chest",
    "upper_arm": "clavicle",
    "forearm": "upper_arm",
    "hand": "forearm",
    "thigh": "pelvis",
    "shin": "thigh",
    "foot": "shin",
    "toe": "foot",
}
BONES = (*_TRUNK, *(f"{bone}.{side}" for side in "LR" for bone in _SIDE))
"""Names, parents before children; .L is the figure's left, at negative x."""


def _parent(bone: str) -> str:
    stem, dot, side = bone.partition(".")
    if not dot:
        return _TRUNK[stem]
    return _SIDE[stem] if _SIDE[stem] in _TRUNK else f"{_SIDE[stem]}.{side}"


PARENTS = (0, *(BONES.index(_parent(bone)) for bone in BONES[1:]))
"""Index of each bone's parent; the pelvis is its own."""


def rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """Compute rotations (N, 3, 3) about axis 0, 1 or 2 by angles (N,) in radians."""
    turns = np.zeros((len(angle), 3, 3))
    turns[:, axis, axis] = 1
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turns[:, i, i] = turns[:, j, j] = np.cos(angle)
    turns[:, j, i] = np.sin(angle)
    turns[:, i, j] = -turns[:, j, i]
    return turns


def chain(joints: np.ndarray, turns: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Compute world rotations (N, B, 3, 3) and joints (N, B, 3).

    Args:
        joints: (B, 3) in the neutral pose.
        turns: rotation (N, 3, 3) of each bone relative to its parent; other bones do not turn.
    """
    frames = len(next(iter(turns.values())))
    world = np.tile(np.eye(3), (frames, len(BONES), 1, 1))
    placed = np.tile(joints, (frames, 1, 1))
    for index, (bone, parent) in enumerate(zip(BONES, PARENTS, strict=True)):
        own = turns.get(bone)
        if index:
            placed[:, index] = placed[:, parent] + world[:, parent] @ (
                joints[index] - joints[parent]
            )
            world[:, index] = world[:, parent]
        if own is not None:
            world[:, index] = world[:, index] @ own
    return world, placed

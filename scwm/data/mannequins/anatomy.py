"""Parameters of a figure: proportions, build, cut of clothes and pose; and gaits."""

from dataclasses import dataclass

import numpy as np

from .skeleton import rotation

GESTURES = {
    "swing": (0.0, 0.0, 0.0, 0.0),
    "hang": (0.04, 0.02, 0.10, 0.0),
    "carry": (-0.02, 0.10, 0.06, 0.0),
    "strap": (-0.36, 0.33, 2.34, 0.7),
    "front": (0.0, 0.09, 1.18, 0.77),
    "phone": (1.4, 0.16, 2.2, 0.45),
    "read": (0.2, 0.11, 1.61, 0.56),
    "pocket": (-0.45, 0.32, 1.0, 0.55),
}
"""What an arm does besides swinging: upper arm forward and outward, elbow, forearm inward."""


@dataclass(frozen=True)
class Shape:
    """A figure's build and the cut of its clothes; lengths in metres unless said otherwise."""

    height: float = 1.72
    build: float = 0.0  # -1 slight … 1 heavy
    hips: float = 0.5  # 0 male … 1 female
    age: float = 0.67  # 0.57 teenager, 0.67 young, 1 old
    muscle: float = 0.5
    proportions: float = 0.5  # 0 … 1
    hem: float = 0.51  # where the top ends, share of stature
    sleeve: float = 1.0  # share of the arm from the shoulder that is sleeved
    trousers: float = 1.0  # share of the leg from the hip that is covered
    top_ease: float = 0.012  # how far cloth stands off the body
    leg_ease: float = 0.010
    skirt: float = 0.0  # share of the leg that a skirt covers
    coat: bool = False  # the skirt continues the top, and counts as torso
    boots: bool = False
    hair: float = 0.2  # 0 cropped … 1 to the shoulder blades
    bag: str = ""  # "", "backpack", "shoulder" or "hand"
    bag_side: int = 1

    @property
    def tucked(self) -> bool:
        """Whether the top ends inside a skirt."""
        return self.skirt > 0 and not self.coat

    @property
    def top_hem(self) -> float:
        """Height of the hem of the top, or of its border with the skirt; share of stature."""
        return max(self.hem, 0.565) if self.tucked else self.hem

    def sliders(self) -> np.ndarray:
        """The body's sliders (1, 6), in the order of `sliders.RANGES`."""
        weight = float(np.clip(0.5 + 0.42 * self.build, 0, 1))
        return np.array([[self.hips, self.age, self.muscle, weight, self.proportions, self.height]])


@dataclass(frozen=True)
class Pose:
    """Poses of N frames; each field (N,) unless said otherwise. Angles in radians."""

    phase: np.ndarray  # of the step, in cycles; 0 is the left heel's strike
    stride: np.ndarray  # 0 stands, 1 walks briskly
    lean: np.ndarray
    head_yaw: np.ndarray
    gesture: np.ndarray  # (N, 2) index into GESTURES of the left and right arm
    shift: np.ndarray  # weight on the left (-1) or right (1) leg, when standing


def gestures(draws: np.ndarray, walks: np.ndarray) -> np.ndarray:
    """Choose each arm's gesture (N, 2) from uniform draws (N, 2): mostly swing or hang."""
    names = list(GESTURES)
    rest = np.where(walks, names.index("swing"), names.index("hang"))[:, None]
    others = [names.index(n) for n in ("front", "phone", "read", "pocket", "strap")]
    rare = np.clip((draws - 0.72) / 0.28 * len(others), 0, len(others) - 1).astype(int)
    return np.where(draws < 0.72, rest, np.array(others)[rare])


def gait(cycle: np.ndarray, stride: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute hip flexion, knee flexion, foot pitch (N,), radians, at `cycle` (0 = heel strike)."""

    def bump(centre: float, width: float) -> np.ndarray:
        away = (cycle - centre + 0.5) % 1 - 0.5
        return np.exp(-((away / width) ** 2))

    hip = stride * (0.10 + 0.37 * np.cos(2 * np.pi * (cycle + 0.04)))
    knee = 0.04 + stride * (0.05 + 0.20 * bump(0.15, 0.09) + 0.95 * bump(0.72, 0.12))
    foot = stride * (0.28 * bump(0.0, 0.06) - 0.80 * bump(0.64, 0.11) - 0.1 * bump(0.8, 0.1))
    return hip, knee, foot


def joint_turns(pose: Pose, clearance: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the rotation (N, 3, 3) of each moving bone relative to its parent.

    Args:
        pose: N poses.
        clearance: (2,) angle by which the left and the right arm are spread to miss the trunk.
    """
    step = 2 * np.pi * pose.phase
    still = np.clip(1 - pose.stride / 0.3, 0, 1) * pose.shift
    twist = -0.10 * pose.stride * np.cos(step)  # the leading hip comes forward
    tilt = 0.05 * pose.stride * np.sin(step) + 0.07 * still  # the unloaded hip drops
    zero = np.zeros_like(step)
    turns = {
        "pelvis": rotation(2, twist) @ rotation(1, tilt),
        "belly": rotation(1, -0.6 * tilt) @ rotation(0, -0.4 * pose.lean),
        "waist": rotation(2, -1.0 * twist) @ rotation(0, -0.3 * pose.lean),
        "chest": rotation(2, -1.0 * twist)
        @ rotation(1, -0.4 * tilt)
        @ rotation(0, -0.3 * pose.lean),
        "neck": rotation(2, 0.5 * twist + 0.4 * pose.head_yaw) @ rotation(0, 0.3 * pose.lean),
        "head": rotation(2, 0.5 * twist + 0.6 * pose.head_yaw) @ rotation(0, 0.5 * pose.lean),
    }
    table = np.array(list(GESTURES.values()))
    for index, (letter, side) in enumerate((("L", -1.0), ("R", 1.0))):
        cycle = pose.phase + (0.5 if side > 0 else 0.0)
        hip, knee, foot = gait(cycle, pose.stride)
        unloaded = np.clip(-side * still, 0, 1)
        hip, knee = hip + 0.16 * unloaded, knee + 0.34 * unloaded
        turns[f"thigh.{letter}"] = rotation(1, -tilt - side * 0.05 * unloaded) @ rotation(0, hip)
        turns[f"shin.{letter}"] = rotation(0, -knee)
        turns[f"foot.{letter}"] = rotation(2, -side * 0.10 * np.abs(still)) @ rotation(
            0, foot - hip + knee + 0.2 * unloaded
        )
        rise = np.clip(-foot, 0, 0.6) * np.exp(-(((cycle % 1 - 0.60) / 0.09) ** 2))
        turns[f"toe.{letter}"] = rotation(0, rise)

        swing = table[pose.gesture[:, index]]
        free = pose.gesture[:, index] == 0
        forward = np.where(free, -0.75 * gait(cycle, pose.stride)[0] + 0.10 * pose.stride, 0)
        bend = np.where(free, 0.08 + 0.30 * pose.stride + 0.5 * np.clip(forward, 0, 1), 0)
        forward, outward = forward + swing[:, 0], clearance[index] + swing[:, 1]
        shrug = np.where(swing[:, 2] > 2.2, 0.15, 0.0)
        turns[f"clavicle.{letter}"] = rotation(1, -side * shrug)
        turns[f"upper_arm.{letter}"] = rotation(0, forward) @ rotation(1, -side * outward)
        turns[f"forearm.{letter}"] = rotation(2, side * swing[:, 3]) @ rotation(
            0, bend + swing[:, 2]
        )
        turns[f"hand.{letter}"] = rotation(1, side * (0.6 * clearance[index] + 0.05) + zero)
    return turns

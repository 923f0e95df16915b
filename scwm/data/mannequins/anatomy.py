"""What a figure is told: proportions, build and cut of clothes, pose; and how legs walk."""

from dataclasses import dataclass

import numpy as np

# Half-widths and depths (to the front, to the back) at stations of a tube, as shares of stature;
# the first column is the station: height for torso and head, else the share of the limb's length.
TORSO_TABLE = np.array(
    [
        [0.462, 0.020, 0.020, 0.020],
        [0.470, 0.066, 0.046, 0.055],
        [0.490, 0.089, 0.054, 0.068],
        [0.520, 0.097, 0.057, 0.072],
        [0.560, 0.092, 0.057, 0.062],
        [0.600, 0.082, 0.056, 0.050],
        [0.640, 0.081, 0.056, 0.050],
        [0.690, 0.088, 0.061, 0.058],
        [0.730, 0.097, 0.065, 0.063],
        [0.770, 0.102, 0.060, 0.062],
        [0.795, 0.102, 0.051, 0.057],
        [0.812, 0.090, 0.043, 0.051],
        [0.826, 0.068, 0.036, 0.046],
        [0.840, 0.044, 0.031, 0.041],
        [0.856, 0.030, 0.024, 0.030],
    ]
)
HEAD_TABLE = np.array(
    [
        [0.835, 0.034, 0.030, 0.037],
        [0.855, 0.030, 0.028, 0.035],
        [0.868, 0.030, 0.032, 0.035],
        [0.876, 0.033, 0.048, 0.037],
        [0.888, 0.038, 0.054, 0.041],
        [0.905, 0.042, 0.056, 0.048],
        [0.918, 0.044, 0.058, 0.053],
        [0.940, 0.045, 0.055, 0.058],
        [0.960, 0.044, 0.053, 0.058],
        [0.978, 0.037, 0.045, 0.050],
        [0.991, 0.025, 0.031, 0.034],
        [1.000, 0.000, 0.000, 0.000],
    ]
)
ARM_TABLE = np.array(
    [
        [0.000, 0.000, 0.000, 0.000],
        [0.012, 0.007, 0.011, 0.010],
        [0.090, 0.010, 0.019, 0.017],
        [0.150, 0.012, 0.022, 0.021],
        [0.205, 0.013, 0.018, 0.017],
        [0.245, 0.014, 0.017, 0.016],
        [0.330, 0.018, 0.020, 0.020],
        [0.450, 0.023, 0.024, 0.023],
        [0.550, 0.022, 0.022, 0.024],
        [0.620, 0.022, 0.024, 0.022],
        [0.760, 0.025, 0.028, 0.026],
        [0.880, 0.027, 0.030, 0.030],
        [0.960, 0.026, 0.029, 0.030],
        [1.010, 0.019, 0.023, 0.024],
        [1.040, 0.000, 0.000, 0.000],
    ]
)
LEG_TABLE = np.array(
    [
        [-0.02, 0.019, 0.020, 0.024],
        [0.050, 0.019, 0.020, 0.025],
        [0.120, 0.021, 0.022, 0.029],
        [0.230, 0.028, 0.027, 0.039],
        [0.330, 0.031, 0.030, 0.041],
        [0.430, 0.030, 0.033, 0.034],
        [0.500, 0.031, 0.036, 0.032],
        [0.580, 0.036, 0.041, 0.037],
        [0.720, 0.044, 0.048, 0.047],
        [0.860, 0.050, 0.051, 0.056],
        [0.950, 0.049, 0.044, 0.058],
        [1.010, 0.040, 0.030, 0.048],
        [1.050, 0.015, 0.015, 0.015],
    ]
)
FOOT_TABLE = np.array(
    [
        [0.000, 0.000, 0.000, 0.000],
        [0.030, 0.016, 0.006, 0.012],
        [0.140, 0.026, 0.011, 0.014],
        [0.320, 0.029, 0.017, 0.015],
        [0.500, 0.026, 0.026, 0.015],
        [0.680, 0.023, 0.040, 0.015],
        [0.840, 0.021, 0.042, 0.016],
        [0.960, 0.016, 0.034, 0.015],
        [1.000, 0.000, 0.000, 0.000],
    ]
)
HIP, KNEE, ANKLE = 0.525, 0.285, 0.042
SHOULDER, UPPER_ARM, FOREARM, HAND = 0.793, 0.176, 0.146, 0.100
ARM_LENGTH = UPPER_ARM + FOREARM + HAND
FOOT_LENGTH, NECK = 0.152, 0.845


@dataclass(frozen=True)
class Shape:
    """A figure's build and the cut of its clothes; lengths in metres unless said otherwise."""

    height: float = 1.72
    build: float = 0.0  # -1 slight … 1 heavy
    hips: float = 0.5  # 0 narrow hips and broad shoulders … 1 the reverse
    hem: float = 0.51  # where the top ends, share of stature
    sleeve: float = 1.0  # share of the arm from the shoulder that is sleeved
    trousers: float = 1.0  # share of the leg from the hip that is covered
    top_ease: float = 0.012  # how far cloth stands off the body
    leg_ease: float = 0.010
    skirt: float = 0.0  # share of the leg that a skirt covers
    coat: bool = False  # the skirt continues the top, and counts as torso
    hair: float = 0.2  # 0 cropped … 1 to the shoulder blades
    bag: str = ""  # "", "backpack", "shoulder" or "hand"
    bag_side: int = 1


@dataclass(frozen=True)
class Pose:
    """Walking poses of N frames; each field (N,). Angles in radians, phase in cycles."""

    phase: np.ndarray
    stride: np.ndarray  # 0 stands, 1 walks briskly
    lean: np.ndarray
    head_yaw: np.ndarray
    elbow: np.ndarray  # (N, 2) extra bend of the left and right elbow


def direction(pitch: np.ndarray, outward: np.ndarray | float) -> np.ndarray:
    """Unit vectors (N, 3) that hang down, swung forward and to the right by these angles."""
    outward = np.broadcast_to(outward, pitch.shape)
    return np.stack(
        [np.sin(outward), np.cos(outward) * np.sin(pitch), -np.cos(outward) * np.cos(pitch)],
        axis=-1,
    )


def gait(cycle: np.ndarray, stride: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hip flexion, knee flexion and foot pitch at `cycle` (0 = heel strike) in radians."""

    def bump(centre: float, width: float) -> np.ndarray:
        away = (cycle - centre + 0.5) % 1 - 0.5
        return np.exp(-((away / width) ** 2))

    hip = stride * (0.10 + 0.40 * np.cos(2 * np.pi * (cycle + 0.04)))
    knee = 0.06 + stride * (0.22 * bump(0.15, 0.09) + 0.95 * bump(0.72, 0.12))
    foot = stride * (0.25 * bump(0.0, 0.07) - 0.75 * bump(0.64, 0.11))
    return hip, knee, foot

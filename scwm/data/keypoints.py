"""Joints of Market-1501's images by a pose estimator (layumi/market1501_body_point)."""

from pathlib import Path

import numpy as np

from scwm.core.errors import ScwmError
from scwm.core.plugins import optional_module

# In the file's order, inferred from the joints' mean rows. Left and right share a name, because a
# view from behind exchanges them.
JOINTS = (
    *("head", "neck", "shoulder", "elbow", "wrist", "shoulder", "elbow", "wrist"),
    *("hip", "knee", "ankle", "hip", "knee", "ankle"),
)
SIZE = (64, 128)  # width and height of Market-1501's images, in pixels


def read_keypoints(path: Path, rows: np.ndarray) -> np.ndarray:
    """Read the joints of images.

    Args:
        path: MATLAB v7.3 file with `pp` of shape (images, 28): 14 x, then 14 y, in pixels from 1.
            Its rows are in the order of the images' file names.
        rows: (N,) the images' places among the images of the file.

    Returns:
        (N,14,2): x and y as fractions of the image's width and height.

    Raises:
        ScwmError: h5py is not installed, the file is not of this form or holds fewer images.
    """
    h5py = optional_module("h5py", "h5py")
    try:
        with h5py.File(path) as file:
            values = np.array(file["pp"], dtype=np.float64)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ScwmError(
            f"Not a file of key points: {error}", path, "give a MATLAB v7.3 file with `pp`"
        ) from error
    least = int(rows.max()) + 1
    if values.ndim != 2 or values.shape[1] != 2 * len(JOINTS) or len(values) < least:
        raise ScwmError(
            f"Key points have shape {values.shape}, expected ({least} or more, {2 * len(JOINTS)}).",
            path,
            "give the file of the training images",
        )
    pixels = values[rows].reshape(len(rows), 2, len(JOINTS)).transpose(0, 2, 1)
    points: np.ndarray = (pixels - 0.5) / np.array(SIZE)
    return points

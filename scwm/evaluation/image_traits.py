"""Which images are hard for parsing or for a memory, told from their true masks."""

import numpy as np


def cut_or_shifted(masks: np.ndarray) -> np.ndarray:
    """Boxes that cut the person or have it off the middle.

    That is: the figure touches the top or the bottom border, or its centre of mass lies more than
    an eighth of the width off the middle.

    Args:
        masks: (N,H,W) part labels, 0 background.

    Returns:
        (N,) bool; False where there is no figure.
    """
    figure = np.asarray(masks) > 0
    width = figure.shape[2]
    columns = figure.sum(axis=1)
    centre = columns @ (np.arange(width) + 0.5) / np.maximum(columns.sum(axis=1), 1)
    shifted = np.abs(centre / width - 0.5) > 1 / 8
    cut = figure[:, 0].any(axis=1) | figure[:, -1].any(axis=1)
    traits: np.ndarray = (cut | shifted) & figure.any(axis=(1, 2))
    return traits


def mostly_hidden(masks: np.ndarray) -> np.ndarray:
    """Images that show little of the person: less than three quarters of the median area.

    Args:
        masks: (N,H,W) part labels, 0 background.

    Returns:
        (N,) bool.
    """
    area = (np.asarray(masks) > 0).mean(axis=(1, 2))
    hidden: np.ndarray = area < 0.75 * np.median(area)
    return hidden

"""Part masks against ground truth."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from scwm.errors import ScwmError

Array = np.ndarray | Tensor


def parsing_scores(predicted: Array, truth: Array) -> dict[str, float]:
    """Foreground IoU and mean part IoU over all cells of all images together.

    Predicted parts have no names, so they are matched one to one with the true parts so that the
    sum of IoUs is greatest. A true part without a partner counts as 0.

    Args:
        predicted: (N,h,w) integers, 0 background, 1.. parts.
        truth: (N,H,W) integers, H >= h and W >= w; brought to h x w by `to_grid`.

    Returns:
        foreground_iou: cells in any part against cells in any true part.
        part_miou: mean over the true parts that occur; background is no part.

    Raises:
        ScwmError: shapes that do not fit, negative labels, a truth without foreground.
    """
    predicted, truth = _labels(predicted, "predicted"), _labels(truth, "truth")
    if len(predicted) != len(truth) or any(np.array(predicted.shape) > truth.shape):
        raise ScwmError(
            "the truth must hold the same images at least as finely as the prediction",
            f"predicted {predicted.shape}, truth {truth.shape}",
        )
    truth = to_grid(truth, predicted.shape[1], predicted.shape[2])
    if not truth.any():
        raise ScwmError("the true masks hold no foreground", "truth", "check the masks' labels")
    columns = int(truth.max()) + 1
    pair = predicted.astype(np.int64).ravel() * columns + truth.ravel()
    cells = np.bincount(pair, minlength=(int(predicted.max()) + 1) * columns)
    cells = cells.reshape(-1, columns)

    foreground = cells[1:, 1:].sum()
    union = cells.sum(axis=1, keepdims=True) + cells.sum(axis=0) - cells
    iou = (cells / np.maximum(union, 1))[1:, 1:]
    matched = iou[linear_sum_assignment(iou, maximize=True)]
    present = np.count_nonzero(cells[:, 1:].sum(axis=0))
    return {
        "foreground_iou": float(foreground / (cells.sum() - cells[0, 0])),
        "part_miou": float(matched.sum() / present),
    }


def to_grid(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Labels (N,H,W) on a coarser grid (N,height,width), by majority in two steps.

    A cell is foreground when more than half of its pixels are; a foreground cell takes its most
    frequent part, the lower label of equals. One vote over all labels would instead lose cells
    that several parts share to the background.
    """
    count, rows, columns = labels.shape
    if (rows, columns) == (height, width):
        return labels
    top = -(-np.arange(height) * rows // height)
    left = -(-np.arange(width) * columns // width)

    def pixels(mask: np.ndarray) -> np.ndarray:
        return np.add.reduceat(
            np.add.reduceat(mask, left, axis=2, dtype=np.int32), top, axis=1, dtype=np.int32
        )

    size = pixels(np.ones((1, rows, columns), dtype=bool))
    foreground = 2 * pixels(labels > 0) > size
    best = np.zeros((count, height, width), dtype=np.int32)
    out = np.zeros((count, height, width), dtype=np.int64)
    for part in range(1, int(labels.max(initial=0)) + 1):
        votes = pixels(labels == part)
        out[votes > best] = part
        np.maximum(best, votes, out=best)
    return np.where(foreground, out, 0)


def _labels(labels: Array, name: str) -> np.ndarray:
    array = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if array.ndim != 3 or array.size == 0 or array.dtype.kind not in "iub":
        raise ScwmError(
            "part labels must be integers (N,H,W)", f"{name}: {array.dtype} {array.shape}"
        )
    if array.min() < 0:
        raise ScwmError("part labels start at 0, the background", f"{name}: {array.min()}")
    return array

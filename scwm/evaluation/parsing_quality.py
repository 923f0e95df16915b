"""Scores of part masks by true masks and joints, properties of masks, and the use of parts."""

import numpy as np
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from scwm.core.errors import ScwmError

Array = np.ndarray | Tensor


def parsing_scores(predicted: Array, truth: Array) -> dict[str, float]:
    """Compute foreground IoU and mean part IoU over all cells of all images together.

    Predicted parts have no names. So they are matched one to one with the true parts for the
    largest sum of IoUs. A true part without a partner counts as 0.

    Args:
        predicted: (N,h,w) integers, 0 background, 1.. parts.
        truth: (N,H,W) integers, H >= h and W >= w; reduced to h x w by `to_grid`.

    Returns:
        foreground_iou: IoU of the cells in any part and the cells in any true part.
        part_miou: mean over the true parts that occur; background is not a part.

    Raises:
        ScwmError: the shapes do not fit, a label is negative, or the truth has no foreground.
    """
    cells, iou = _agreement(*_on_one_grid(predicted, truth))
    foreground = cells[1:, 1:].sum()
    matched = iou[linear_sum_assignment(iou, maximize=True)]
    present = np.count_nonzero(cells[:, 1:].sum(axis=0))
    return {
        "foreground_iou": float(foreground / (cells.sum() - cells[0, 0])),
        "part_miou": float(matched.sum() / present),
    }


def training_scores(truth: np.ndarray, labels: Array, predicted: Array) -> dict[str, float]:
    """Score an epoch's part labels and the classifier's labels, for the history.

    Args:
        truth: (N,H,W) true masks, as for `parsing_scores`.
        labels, predicted: (N,h,w) integers, 0 background, 1.. parts.
    """
    truth = to_grid(truth, *labels.shape[1:])
    of_labels = parsing_scores(labels, truth)
    of_labels["misplaced_share"] = misplaced_share(labels, truth)
    return {
        **{f"label_{name}": value for name, value in of_labels.items()},
        **{f"mask_{name}": value for name, value in parsing_scores(predicted, truth).items()},
    }


def misplaced_share(predicted: Array, truth: Array) -> float:
    """Compute the share of foreground cells outside the true vertical range of their part.

    Predicted parts are matched with true parts as in `parsing_scores`. A cell is misplaced if its
    row is above the first or below the last row of the true part in that image. Only cells count
    that are foreground in both and whose matched true part occurs in the image, so neither leakage
    nor an absent part affects the result.

    Arguments and errors are as in `parsing_scores`. The result is 0 if no cell counts.
    """
    predicted, truth = _on_one_grid(predicted, truth)
    iou = _agreement(predicted, truth)[1]
    first, second = linear_sum_assignment(iou, maximize=True)
    partner = np.zeros(iou.shape[0] + 1, dtype=np.int64)
    partner[first + 1] = second + 1
    counted = misplaced = 0
    for part in range(1, int(truth.max()) + 1):
        there = (truth == part).any(axis=2)
        span = (
            np.maximum.accumulate(there, axis=1)
            & np.maximum.accumulate(there[:, ::-1], axis=1)[:, ::-1]
        )
        own = (partner[predicted] == part) & (truth > 0) & there.any(axis=1)[:, None, None]
        counted += int(own.sum())
        misplaced += int((own & ~span[:, :, None]).sum())
    return misplaced / max(counted, 1)


def _on_one_grid(predicted: Array, truth: Array) -> tuple[np.ndarray, np.ndarray]:
    """Check both label arrays and return them on the prediction's grid, (N,h,w)."""
    predicted, truth = _labels(predicted, "predicted"), _labels(truth, "truth")
    if len(predicted) != len(truth) or any(np.array(predicted.shape) > truth.shape):
        raise ScwmError(
            "the truth must hold the same images at least as finely as the prediction",
            f"predicted {predicted.shape}, truth {truth.shape}",
        )
    truth = to_grid(truth, predicted.shape[1], predicted.shape[2])
    if not truth.any():
        raise ScwmError("the true masks hold no foreground", "truth", "check the masks' labels")
    return predicted, truth


def _agreement(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count cells by predicted and true label, background first; compute part IoUs (K,T)."""
    columns = int(truth.max()) + 1
    pair = predicted.astype(np.int64).ravel() * columns + truth.ravel()
    cells = np.bincount(pair, minlength=(int(predicted.max()) + 1) * columns)
    cells = cells.reshape(-1, columns)
    union = cells.sum(axis=1, keepdims=True) + cells.sum(axis=0) - cells
    return cells, (cells / np.maximum(union, 1))[1:, 1:]


def to_grid(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Reduce labels (N,H,W) to a coarser grid (N,height,width), by majority in two steps.

    A cell is foreground if more than half of its pixels are foreground. A foreground cell takes its
    most frequent part, and the lower label of equals. One vote over all labels would instead assign
    cells that several parts share to the background.
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


def effective_parts(visibility: Tensor) -> float:
    """Compute the effective number of part masks: exp of the entropy of their foreground shares.

    It is K if all parts win equally many cells, 1 if one covers the body, and 0 without any cell.

    Args:
        visibility: (N,K) share of each image's cells that each part wins, or any sums of it.
    """
    mass = visibility.double().sum(0)
    if mass.sum() <= 0:
        return 0.0
    share = mass / mass.sum()
    return float((-(share * share.clamp(min=1e-300).log()).sum()).exp())


def part_similarity(features: Tensor, visibility: Tensor) -> tuple[Tensor, Tensor]:
    """Sum the cosines between the visible part features of each image over all pairs.

    Args:
        features: (N,K,C).
        visibility: (N,K); a part is visible if its value is above 0.

    Returns:
        The sum and the number of pairs, scalar tensors that stay on the device.
    """
    seen = (visibility > 0).to(features)
    count = seen.sum(1)
    together = (F.normalize(features, dim=2) * seen[:, :, None]).sum(1)
    # |sum of unit vectors|² holds each vector with itself once and each pair twice.
    return ((together.pow(2).sum(1) - count) / 2).sum(), (count * (count - 1) / 2).sum()


def joint_scores(predicted: np.ndarray, points: np.ndarray, names: np.ndarray) -> dict[str, float]:
    """Score whether joints are in the foreground, and whether joints determine parts.

    Only the share of joints in the foreground would reward a foreground that covers everything. So
    the share of border cells, the outermost ring of the map, is subtracted.

    Args:
        predicted: (N,h,w) part labels, 0 background.
        points: (N,J,2), x and y of each joint as fractions of the image's width and height.
        names: (J,) integers, equal for joints with the same name.

    Returns:
        joints_in_foreground and border_in_foreground (shares), joints_minus_border (their
        difference), and joint_part_nmi: normalised mutual information (arithmetic mean) between
        a joint's name and its part's label, over the joints in the foreground; 0 without any.
    """
    from sklearn.metrics import normalized_mutual_info_score  # slow to import, and seldom needed

    height, width = predicted.shape[1:]
    column, row = (
        np.clip((points[..., i] * n).astype(np.int64), 0, n - 1)
        for i, n in enumerate((width, height))
    )
    parts = predicted[np.arange(len(predicted))[:, None], row, column]
    inside = parts > 0
    ring = np.ones((height, width), dtype=bool)
    ring[1:-1, 1:-1] = False
    joints, border = float(inside.mean()), float((predicted[:, ring] > 0).mean())
    named = np.broadcast_to(names, parts.shape)[inside]
    return {
        "joints_in_foreground": joints,
        "border_in_foreground": border,
        "joints_minus_border": joints - border,
        "joint_part_nmi": float(normalized_mutual_info_score(named, parts[inside]))
        if inside.any()
        else 0.0,
    }


def cut_or_shifted(masks: np.ndarray) -> np.ndarray:
    """Mark boxes that cut the person or hold it off centre.

    The figure touches the top or the bottom border, or its centre of mass is more than an eighth of
    the width away from the middle.

    Args:
        masks: (N,H,W) part labels, 0 background.

    Returns:
        (N,) bool; False without a figure.
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
    """Mark images whose figure covers less than three quarters of the median area.

    Args:
        masks: (N,H,W) part labels, 0 background.

    Returns:
        (N,) bool.
    """
    area = (np.asarray(masks) > 0).mean(axis=(1, 2))
    hidden: np.ndarray = area < 0.75 * np.median(area)
    return hidden

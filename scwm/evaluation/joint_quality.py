"""Part labels against the joints of a pose estimator, where there are no true masks."""

import numpy as np


def joint_scores(predicted: np.ndarray, points: np.ndarray, names: np.ndarray) -> dict[str, float]:
    """Whether joints lie in the foreground, and whether a joint tells its part.

    Joints in the foreground alone would reward a foreground that covers everything, so the share
    of border cells, the outermost ring of the map, is taken off.

    Args:
        predicted: (N,h,w) part labels, 0 background.
        points: (N,J,2), x and y of each joint as fractions of the image's width and height.
        names: (J,) integers, the same for joints of one name.

    Returns:
        joints_in_foreground and border_in_foreground (shares), joints_minus_border (their
        difference), joint_part_nmi: normalised mutual information (arithmetic mean) between a
        joint's name and its part's label, over the joints in the foreground; 0 without any.
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

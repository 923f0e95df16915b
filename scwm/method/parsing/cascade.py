"""Cascaded clustering: pixel features of pseudo identities -> part labels."""

import numpy as np
import torch
from torch import Tensor

from scwm.core.device import tensor_float32
from scwm.core.errors import ScwmError
from scwm.core.plugins import FOREGROUND_CORRECTIONS, SPACE_CORRECTIONS
from scwm.method.parsing.foreground import activation, two_means
from scwm.method.parsing.parts import cluster_parts
from scwm.method.parsing.pixels import Pixels


@torch.no_grad()
def cascaded_clustering(
    feature_maps: Tensor | np.ndarray,
    groups: Tensor | np.ndarray,
    parts: int,
    foreground_correction: bool | str = True,
    space_correction: bool | str = True,
    seed: int = 0,
) -> Tensor:
    """Compute part labels of every pixel of every grouped image (ISP, Zhu et al., ECCV 2020).

    The corrections follow SCWM's purposes with formulas of ours (docs/method.md).

    Args:
        feature_maps: (N,C,H,W) pixel features.
        groups: (N,) integers, the pseudo identity of each image; -1 = none.
        parts: K, 1 to 255.
        foreground_correction: the module of scwm/method/parsing/foreground_corrections that decides
            ISP's foreground again; True: log_odds.
        space_correction: the module of scwm/method/parsing/space_corrections that finds the parts;
            True: body_rows; False: ISP's K-means.
        seed: seed of the random starts of ISP's K-means.

    Returns:
        (N,H,W) uint8 tensor: 0 background, 1..K parts from top to bottom; all 0 in images of
        group -1.

    Raises:
        ScwmError: the shapes do not fit, a value is not finite, or a correction is unknown.
    """
    maps, owner = torch.as_tensor(feature_maps), torch.as_tensor(groups).long()
    if maps.ndim != 4 or owner.shape != maps.shape[:1] or not 1 <= parts <= 255:
        raise ScwmError(
            f"feature_maps {tuple(maps.shape)}, groups {tuple(owner.shape)}, parts {parts} "
            "do not fit: expected (N,C,H,W), (N,) and 1 to 255 parts."
        )
    labels = torch.zeros(len(maps), *maps.shape[2:], dtype=torch.uint8, device=maps.device)
    kept = (owner >= 0).to(maps.device)
    if not kept.any():
        return labels
    pixels = Pixels(maps if kept.all() else maps[kept])  # a copy only where it must be
    if not torch.isfinite(pixels.norm).all():
        raise ScwmError("Pixel features hold NaN or infinity.", "feature_maps")
    owner = torch.unique(owner.to(maps.device)[kept], return_inverse=True)[1]
    with tensor_float32(maps.device, False):
        foreground = two_means(activation(pixels), owner)
        if foreground_correction:
            correction = FOREGROUND_CORRECTIONS.load(foreground_correction)
            foreground = correction.correct_foreground(pixels, foreground)
        if space_correction:
            correction = SPACE_CORRECTIONS.load(space_correction)
            labels[kept] = correction.cluster_parts(pixels, foreground, owner, parts)
        else:
            labels[kept] = cluster_parts(pixels, foreground, owner, parts, seed=seed)
    return labels

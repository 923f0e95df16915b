"""Camera-aware proxies of an epoch and their inter-camera contrastive loss (PPLR with cameras).

A proxy is the mean feature of the images of one cluster and one camera (Cho et al., CVPR 2022).
docs/method.md, §4 and §5.
"""

import numpy as np
import torch
from torch import Tensor

from scwm.core.errors import ScwmError
from scwm.method.memory import cluster_means
from scwm.models import Output
from scwm.models.embedding import Embedding

HARDEST = 50  # negatives of an image in the released code, pplr/loss/loss.py, InterCamProxy
TEMPERATURE = 0.07  # likewise

Proxies = tuple[Tensor, Tensor, Tensor, Tensor]
"""Proxies (P,D) of the global feature and (K,P,C) of the parts, the cluster and the camera (P,2) of
each, and the cameras (N,) of the training images."""


def camera_proxies(embedding: Embedding, labels: Tensor, cameras: np.ndarray) -> Proxies:
    """Compute the proxies of an epoch.

    An image of an unknown camera has no proxy.

    Args:
        embedding: features of the N training images, with parts.
        labels: (N,) classes, -1 = left out.
        cameras: (N,) integers, negative = unknown.

    Raises:
        ScwmError: no image of a class has a known camera.
    """
    features, own = embedding.part_features, torch.from_numpy(cameras).to(labels)
    assert features is not None
    known = (labels >= 0) & (own >= 0)
    if not known.any():
        raise ScwmError(
            "refinement.cameras is above 0, but no clustered image has a known camera.",
            "camera labels",
            "give images of several cameras, or refinement.cameras: 0",
        )
    keys = torch.stack([labels, own], 1)[known]
    pairs, numbers = keys.unique(dim=0, return_inverse=True)
    proxy = torch.full_like(labels, -1)
    proxy[known] = numbers
    parts = cluster_means(features, proxy, embedding.visibility).movedim(1, 0)
    return cluster_means(embedding.global_feature, proxy), parts, pairs, own


def inter_camera_losses(
    proxies: Proxies, output: Output, labels: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the inter-camera loss of the global feature, and the mean of the parts' losses.

    Args:
        proxies: of the epoch.
        output: the network's, of B images.
        labels: (B,) classes.
        rows: (B,) of the training images.
    """
    *means, pairs, cameras = proxies
    assert output.part_features is not None
    own = cameras[rows, None]
    same = labels[:, None] == pairs[:, 0]
    positive = same & (own != pairs[:, 1]) & (own >= 0)
    features = output.global_feature, output.part_features.movedim(1, 0)
    of_whole, of_parts = (
        _contrast(x @ proxy.to(x).mT, same, positive)
        for x, proxy in zip(features, means, strict=True)
    )
    return of_whole, of_parts


def _contrast(similarities: Tensor, same: Tensor, positive: Tensor) -> Tensor:
    """Contrast each image's positive proxies with the hardest of other clusters.

    An image without a positive costs nothing.

    Args:
        similarities: (…,B,P) of images and proxies.
        same: (B,P), proxies of the image's cluster.
        positive: (B,P), those from another camera.
    """
    logits = similarities / TEMPERATURE
    others = logits.masked_fill(same, -torch.inf)
    hardest = others.topk(min(HARDEST, others.shape[-1])).values
    joint = torch.cat([logits.masked_fill(~positive, -torch.inf), hardest], -1).logsumexp(-1)
    count = positive.sum(-1)
    mean = (logits * positive).sum(-1) / count.clamp(min=1)
    return torch.where(count > 0, joint - mean, 0.0).mean()

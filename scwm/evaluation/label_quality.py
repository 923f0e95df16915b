"""Pseudo labels compared with true identities, for each epoch; training never uses them."""

import numpy as np
import torch
from torch import Tensor

from scwm.core.errors import ScwmError
from scwm.data.labels import labelled


def label_scores(
    labels: np.ndarray | Tensor, truth: np.ndarray | Tensor
) -> dict[str, float | None]:
    """Count clusters and unclustered images, and score the agreement with true identities.

    ARI and NMI (arithmetic mean) cover the clustered images, on which an epoch trains. Unclustered
    images are in no cluster and do not count as clusters of one image. So a labelling that clusters
    only easy images scores well: read both together with `unclustered_share`. Without any cluster
    both are 0. Without any identity both are None.

    Args:
        labels: (N,) pseudo labels, -1 = unclustered.
        truth: (N,) true identities, -1 = unknown.

    Returns:
        clusters, unclustered_share, ari, nmi.

    Raises:
        ScwmError: lengths differ or are 0.
    """
    # Slow to import, and an evaluation does not need it.
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    labels, truth = torch.as_tensor(labels).cpu().numpy(), torch.as_tensor(truth).cpu().numpy()
    if labels.ndim != 1 or labels.shape != truth.shape or not len(labels):
        raise ScwmError(
            "each image needs one pseudo label and one identity",
            f"labels {labels.shape}, identities {truth.shape}",
        )
    clustered = labels >= 0
    known = labelled(truth)
    labels, truth = labels[clustered], truth[clustered]
    agreement: dict[str, float | None] = dict.fromkeys(("ari", "nmi"), 0.0 if known else None)
    if known and len(labels):
        agreement["ari"] = float(adjusted_rand_score(truth, labels))
        agreement["nmi"] = float(normalized_mutual_info_score(truth, labels))
    return {
        "clusters": len(np.unique(labels)),
        "unclustered_share": 1 - float(clustered.mean()),
        **agreement,
    }

"""Part-based pseudo label refinement (PPLR; Cho et al., CVPR 2022).

Learned classifiers of the global and of each part's feature replace the memories. The parts'
predictions refine the labels of the global feature, and the agreement of a part with the global
feature decides how far the part trusts its label. docs/method.md, §4 and §5.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scwm.core.errors import ScwmError
from scwm.core.settings import Config
from scwm.method.camera_proxies import Proxies, inter_camera_losses
from scwm.method.pseudo_labels import nearest_neighbours
from scwm.models import Output

ROWS = 3000  # classes of a classifier in the released code
SMOOTHING = 0.1  # share of the uniform label in the first epochs, of the released code


class Refinement(nn.Module):
    """Classifiers of a training, and their losses with refined labels.

    The optimiser moves the classifiers' weights. Each epoch starts them from its prototypes. Row c
    belongs to class c of the epoch, so it keeps the optimiser's moments of class c of the last one,
    as in the released code. Rows beyond the epoch's classes wait, under weight decay.

    Args:
        config: of the run.
        images: number of training images.
        width: dimensions of the global feature.

    Attributes:
        whole: (R,D) weights of the global feature's classifier.
        parts: (K,R,C) weights of the parts' classifiers.
    """

    def __init__(self, config: Config, images: int, width: int) -> None:
        super().__init__()
        self.settings, model = config.refinement, config.model
        rows = min(images, ROWS)
        self.whole = nn.Parameter(torch.zeros(rows, width))
        self.parts = nn.Parameter(torch.zeros(model.parts, rows, model.part_channels))
        self.agreement, self.classes, self.by_agreement = torch.empty(0), 0, False
        self.proxies: Proxies | None = None

    @torch.no_grad()
    def start(
        self,
        epoch: int,
        whole: Tensor,
        parts: Tensor,
        agreement: Tensor,
        proxies: Proxies | None = None,
    ) -> None:
        """Start the classifiers of an epoch.

        Args:
            epoch: its number, from 0.
            whole: (M,D) prototypes of the global feature.
            parts: (M,K,C) prototypes of the parts.
            agreement: (N,K) of the training images, by `agreement_scores`.
            proxies: camera-aware proxies; None: no camera is read.

        Raises:
            ScwmError: there are more classes than rows.
        """
        self.classes, self.agreement, self.proxies = len(whole), agreement, proxies
        self.by_agreement = epoch >= self.settings.equal_epochs
        if self.classes > len(self.whole):
            raise ScwmError(
                f"{self.classes} classes: the classifiers have {len(self.whole)} rows.",
                "refinement",
                "raise pseudo_labels.eps or pseudo_labels.min_samples; if images without a cluster "
                "are classes, give pseudo_labels.unclustered: left_out",
            )
        self.whole[: self.classes] = whole
        self.parts[:, : self.classes] = parts.movedim(0, 1)

    def forward(self, output: Output, labels: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss of the global feature and that of the parts.

        Args:
            output: the network's, of B images.
            labels: (B,) classes.
            rows: (B,) of the training images.
        """
        features, lengths = output.part_features, output.lengths
        assert features is not None and lengths is not None
        whole = lengths[:, :1] * output.global_feature
        parts = (lengths[:, 1:, None] * features).movedim(1, 0)
        logits = whole @ self.whole[: self.classes].T
        of_parts = (parts @ self.parts[:, : self.classes].mT).movedim(0, 1)  # (B,K,M)
        agreement = self.agreement[rows].to(logits)
        targets = refined_labels(labels, of_parts, agreement, self.settings.own_share)
        loss = F.cross_entropy(logits, targets) + soft_triplet_loss(whole, labels)
        if self.by_agreement:
            part = agreement_loss(of_parts, labels, agreement)
        else:
            each = labels.repeat_interleave(of_parts.shape[1])
            part = F.cross_entropy(of_parts.flatten(0, 1), each, label_smoothing=SMOOTHING)
        if self.proxies is None:
            return loss, part
        added = inter_camera_losses(self.proxies, output, labels, rows)
        weight = self.settings.cameras
        return loss + weight * added[0], part + weight * added[1]


def agreement_scores(whole: Tensor, parts: Tensor, count: int) -> Tensor:
    """Compute the cross agreement of each part with the global feature.

    It is ``|N_i ∩ N_ik| / |N_i ∪ N_ik|``, where N_i and N_ik are the nearest images of image i by
    the global feature and by part k, without the image itself.

    Args:
        whole: (N,D), L2-normalised.
        parts: (N,K,C), L2-normalised.
        count: number of the nearest images; limited to N - 1.

    Returns:
        (N,K) from 0 to 1, on the features' device.
    """
    own, *others = (nearest_neighbours(x, count + 1)[0][:, 1:] for x in (whole, *parts.unbind(1)))
    scores = [_overlap(own, other) for other in others]
    return torch.from_numpy(np.stack(scores, 1)).float().to(whole.device)


def _overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Divide common by joint entries of rows (N,k) of different entries: (N,)."""
    both = np.sort(np.concatenate([one, other], 1), 1)
    common = (both[:, 1:] == both[:, :-1]).sum(1)
    shares: np.ndarray = common / (both.shape[1] - common)
    return shares


@torch.no_grad()
def refined_labels(labels: Tensor, of_parts: Tensor, agreement: Tensor, own_share: float) -> Tensor:
    """Mix each label with the parts' predictions (part-guided label refinement).

    The refined label is ``β y_i + (1 - β) Σ_k w_ik p_ik``, with the parts' predictions p_ik and
    weights ``w_i``, the softmax of the agreement over the parts.

    Args:
        labels: (B,) classes.
        of_parts: (B,K,M) logits of the parts.
        agreement: (B,K).
        own_share: β.

    Returns:
        (B,M), rows of sum 1.
    """
    ensemble = (agreement.softmax(1)[..., None] * of_parts.softmax(2)).sum(1)
    classes = torch.arange(ensemble.shape[1], device=labels.device)
    return own_share * (labels[:, None] == classes) + (1 - own_share) * ensemble


def agreement_loss(of_parts: Tensor, labels: Tensor, agreement: Tensor) -> Tensor:
    """Compute the parts' loss with labels smoothed by the agreement.

    It is the mean over images and parts of ``a_ik H(y_i, p_ik) + (1 - a_ik) KL(u || p_ik)``, with
    the cross-entropy H of the label and the divergence KL of the prediction from the uniform one.

    Args:
        of_parts: (B,K,M) logits.
        labels: (B,) classes.
        agreement: (B,K).
    """
    scores = of_parts.log_softmax(2)
    own = scores.gather(2, labels[:, None, None].expand(-1, scores.shape[1], 1))[..., 0]
    uniform = -scores.mean(2) - math.log(scores.shape[2])
    return (agreement * -own + (1 - agreement) * uniform).mean()


def soft_triplet_loss(features: Tensor, labels: Tensor) -> Tensor:
    """Compute the softmax-triplet loss with the hardest samples of a batch.

    It is the mean of ``-log(exp(d_in) / (exp(d_ip) + exp(d_in)))``: d_ip is the distance to the
    farthest sample of the same class, itself included, and d_in to the nearest of another class.
    A sample without another class in the batch costs nothing.

    Args:
        features: (B,D), not normalised.
        labels: (B,) classes.
    """
    squares = features.square().sum(1)
    products = features @ features.T
    distances = (squares[:, None] + squares - 2 * products).clamp(min=1e-12).sqrt()
    same = labels[:, None] == labels
    farthest = distances.masked_fill(~same, -torch.inf).max(1).values
    nearest = distances.masked_fill(same, torch.inf).min(1).values
    return F.softplus(farthest - nearest).mean()

"""The hybrid memory of SpCL (Ge et al., NeurIPS 2020): one slot for each training image."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from scwm.method.memory import Array, WeightedMemory

EPSILON = 1e-6  # of the released code, spcl/models/hm.py


class InstanceMemory(WeightedMemory):
    """N slots of D dimensions, and a contrastive loss against the mean slot of each class.

    A class is a cluster, or one unclustered image. Its prototype is the plain mean of its slots,
    which is not normalised. Samples name their slots, so `labels` of `update` are rows of images::

        v_i <- normalise(momentum * v_i + (1 - momentum) * f_i)

    Args:
        slots: (N,D), normalised here.
        classes: (N,) integers from 0; the slots of images with -1 are in no prototype.
        momentum, temperature, strategy, tau: as of `WeightedMemory`. Several samples of one image
            move its slot by the strategy; `sequential` is SpCL's.
    """

    classes: Tensor

    def __init__(
        self,
        slots: Array,
        classes: Tensor,
        momentum: float,
        temperature: float,
        strategy: str,
        tau: float,
    ) -> None:
        super().__init__(slots, momentum, temperature, strategy, tau)
        self.register_buffer("classes", classes.long())
        self._kept = torch.nonzero(classes >= 0)[:, 0]
        self._sizes = torch.bincount(classes[self._kept])[:, None]

    def means(self) -> Tensor:
        """Compute the prototype of each class, (M,D)."""
        slots, classes = (x.index_select(0, self._kept) for x in (self.centroids, self.classes))
        sums = slots.new_zeros(len(self._sizes), slots.shape[1]).index_add_(0, classes, slots)
        return sums / self._sizes.clamp(min=1)

    def forward(self, features: Array, labels: Array, visibility: Array | None = None) -> Tensor:
        """Compute the unified contrastive loss of a batch.

        It is the mean of ``-log(p_i + EPSILON)``, where ``p_i`` is the softmax over all classes at
        the image's own, with EPSILON added to its denominator.

        Args:
            features: (B,D), L2-normalised.
            labels: (B,) rows of the images.
            visibility: not used.
        """
        features, rows = self._prepared(features, labels)
        scores = features @ self.means().T / self.temperature
        own = scores.gather(1, self.classes.index_select(0, rows)[:, None])[:, 0]
        total = F.pad(scores, (0, 1), value=math.log(EPSILON)).logsumexp(1)
        return -torch.log(torch.exp(own - total) + EPSILON).mean()

    @torch.no_grad()
    def weights(self, features: Array, labels: Array, visibility: Array | None = None) -> Tensor:
        """Compute the weight of each sample in its class, (B,); a class's weights sum to 1."""
        weight = super().weights(features, labels, visibility)
        classes = self.classes.index_select(0, torch.as_tensor(labels).to(self.classes))
        total = weight.new_zeros(len(self._sizes)).index_add_(0, classes, weight)
        return weight / total.index_select(0, classes)

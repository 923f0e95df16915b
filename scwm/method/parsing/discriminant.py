"""Linear discriminant analysis of pixel features, in closed form."""

import torch
from torch import Tensor

from scwm.method.parsing.pixels import Pixels


class LinearDiscriminant:
    """The linear classifier of Gaussians with a shared covariance (Fisher, 1936).

    Logits ``w_c · (f - m) + log p_c - m_c · w_c / 2`` with ``w_c = S⁻¹ m_c``. m is the mean of all
    pixels, m_c the mean of a class less m. A tenth of the mean variance is added to the diagonal of
    the pooled covariance S within classes. Quantities that do not depend on the labels are computed
    once.

    Args:
        maps: (N,C,H,W) pixel features of any float type, used without scaling; or `Pixels`.
    """

    def __init__(self, maps: Tensor | Pixels) -> None:
        self.pixels = maps if isinstance(maps, Pixels) else Pixels(maps, unit=False)
        self.count = self.pixels.scale.numel()
        every = torch.zeros_like(self.pixels.scale, dtype=torch.uint8)
        self.centre = self.pixels.class_sums(every, 1)[0] / self.count
        self.scatter = self.pixels.scatter(self.centre)

    def fit(self, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Fit weights (classes,C) and biases (classes,) to pixel labels (N,H,W) in 0..classes-1.

        A class without pixels has a prior of 1e-6 and the mean of all pixels.
        """
        size = torch.bincount(labels.flatten(), minlength=classes)[:, None].to(self.centre)
        sums = self.pixels.class_sums(labels.view(self.pixels.scale.shape), classes)
        means = (sums - size * self.centre) / size.clamp(min=1)
        share = size / self.count
        within = self.scatter - (share * means).T @ means
        ridge = 0.1 * within.diagonal().mean().clamp(min=1e-12)
        within = within + ridge * torch.eye(len(within), device=within.device)
        weights = torch.linalg.solve(within, means.T).T
        biases = share[:, 0].clamp(min=1e-6).log() - (weights * (means / 2 + self.centre)).sum(1)
        return weights, biases

    def direction(self, foreground: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights (C,) and bias of the log-odds of a two-class fit without priors."""
        weights, biases = self.fit(foreground.long(), 2)
        prior = torch.logit(foreground.float().mean())
        return weights[1] - weights[0], biases[1] - biases[0] - prior

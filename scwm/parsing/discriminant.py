"""Linear discriminant analysis of pixel features, in closed form."""

import torch
from torch import Tensor


class LinearDiscriminant:
    """The linear classifier of Gaussians with a shared covariance (Fisher, 1936).

    Logits ``w_c · f + b_c`` with ``w_c = S⁻¹ m_c`` and ``b_c = log p_c - m_c · w_c / 2``; the
    pooled covariance S within classes is shrunk by a tenth of its mean variance. What does not
    depend on the labels is computed once.

    Args:
        maps: (N,C,H,W) pixel features.
    """

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps
        pixels = maps.permute(0, 2, 3, 1).flatten(0, 2)
        self.centre = pixels.mean(0)
        self.centred = pixels - self.centre
        self.scatter = self.centred.T @ self.centred / len(pixels)

    def fit(self, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Weights (classes,C) and biases (classes,) for pixel labels (N,H,W) in 0..classes-1.

        A class without pixels has a prior of 1e-6 and the mean of all pixels.
        """
        one_hot = labels.flatten() == torch.arange(classes, device=labels.device)[:, None]
        size = one_hot.sum(1).to(self.centred)
        means = one_hot.to(self.centred) @ self.centred / size.clamp(min=1)[:, None]
        share = size / len(self.centred)
        within = self.scatter - (share[:, None] * means).T @ means
        ridge = 0.1 * within.diagonal().mean().clamp(min=1e-12)
        within = within + ridge * torch.eye(len(within), device=within.device)
        weights = torch.linalg.solve(within, means.T).T
        biases = share.clamp(min=1e-6).log() - (weights * (means / 2 + self.centre)).sum(1)
        return weights, biases

    def log_odds(self, foreground: Tensor) -> Tensor:
        """Log-odds (N,H,W) of a two-class fit by each pixel's feature alone, without priors."""
        weights, biases = self.fit(foreground.long(), 2)
        scores = torch.einsum("nchw,c->nhw", self.maps, weights[1] - weights[0])
        return scores + biases[1] - biases[0] - torch.logit(foreground.float().mean())

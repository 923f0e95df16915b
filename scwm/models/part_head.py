"""Part masks from pixel features, and the pooling of features under masks."""

import torch
from torch import Tensor, nn

from scwm.core.errors import ScwmError


class PartHead(nn.Module):
    """1×1 convolution to K parts and background, softmax at each pixel (ISP, ECCV 2020)."""

    def __init__(self, channels: int, parts: int) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(channels, parts + 1, 1)
        nn.init.normal_(self.classifier.weight, std=0.001)
        assert self.classifier.bias is not None
        nn.init.zeros_(self.classifier.bias)

    @torch.no_grad()
    def start_from(self, weights: Tensor, biases: Tensor) -> None:
        """Copy a linear classifier of pixels: weights (K+1,C), biases (K+1,)."""
        assert self.classifier.bias is not None
        self.classifier.weight.copy_(weights[:, :, None, None])
        self.classifier.bias.copy_(biases)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map (B,C,h,w) to masks and logits, both (B,K+1,h,w)."""
        logits = self.classifier(pixels)
        return logits.softmax(1), logits


class Stripes(nn.Module):
    """K horizontal stripes as fixed masks (PCB, Sun et al., ECCV 2018).

    They are as equal as the rows allow: 16 rows give 3, 3, 2, 3, 3 and 2.
    """

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map (B,C,h,w) to masks (B,K+1,h,w) of zeros and ones; no logits.

        Raises:
            ScwmError: there are more stripes than rows.
        """
        batch, _, height, width = pixels.shape
        if height < self.parts:
            raise ScwmError(
                f"{self.parts} stripes of a part map of {height} rows: some would be empty.",
                "model.parts",
                f"give at most {height}, or a larger model.image_size",
            )
        stripe = torch.arange(height, device=pixels.device) * self.parts // height + 1
        masks = stripe == torch.arange(self.parts + 1, device=pixels.device)[:, None]
        return masks[None, :, :, None].expand(batch, -1, -1, width).to(pixels.dtype), None


def pool_parts(pixels: Tensor, masks: Tensor) -> Tensor:
    """Compute the mask-weighted mean of the pixel features.

    ISP takes the mean over all pixels of ``mask · F``. Division by the mask's mass instead (ours)
    makes a part's feature independent of the size of the part in the image.

    Args:
        pixels: (B,C,h,w).
        masks: (B,K,h,w), non-negative.

    Returns:
        (B,K,C).
    """
    flat = masks.flatten(2)
    total = torch.bmm(flat, pixels.flatten(2).transpose(1, 2))
    return total / flat.sum(2, keepdim=True).clamp(min=1e-6)


def visibility(masks: Tensor) -> Tensor:
    """Compute the share of cells whose arg-max is each part: (B,K+1,h,w) -> (B,K)."""
    classes = masks.shape[1]
    winner = masks.argmax(1).flatten(1)
    one_hot = winner[:, None] == torch.arange(1, classes, device=masks.device)[:, None]
    return one_hot.float().mean(2)

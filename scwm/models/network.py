"""The re-identification network: a global feature, pixel features, part masks, part features."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scwm.core.device import tensor_float32
from scwm.core.errors import ScwmError
from scwm.core.settings import Config
from scwm.models.backbone import Backbone, build_backbone, fold_batch_norm, load_weights
from scwm.models.conv_relu6 import fuse_relu6
from scwm.models.part_head import PartHead, Stripes, pool_parts, visibility

MIN_CELLS = (16, 8)  # the part map must separate the head from the shoulders


class Output(NamedTuple):
    """Outputs of the network for B images, with K parts and a part map of h×w cells.

    Attributes:
        global_feature: (B,D), L2-normalised.
        part_features: (B,K,C), each L2-normalised.
        visibility: (B,K), share of the cells of the map whose arg-max is this part.
        masks: (B,K+1,h,w), softmax over background and parts; index 0 is background.
        logits: (B,K+1,h,w) of the masks, or None for stripes.
        pixels: (B,C,h,w), the pixel features F.
        lengths: (B,1+K) of the global and part features before normalisation, in the training of
            the classifiers that need them (`Config.refinement`).
    """

    global_feature: Tensor
    part_features: Tensor | None = None
    visibility: Tensor | None = None
    masks: Tensor | None = None
    logits: Tensor | None = None
    pixels: Tensor | None = None
    lengths: Tensor | None = None


class GeM(nn.Module):
    """Generalised-mean pooling with a learnable exponent (Radenović et al., TPAMI 2019)."""

    def __init__(self, exponent: float = 3.0) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor(exponent))

    def forward(self, maps: Tensor) -> Tensor:
        """Pool (B,C,h,w) to (B,C)."""
        # A power with a learned exponent takes twice this time, and its gradient even more.
        positive = F.threshold(maps, 1e-6, 1e-6)
        if torch.is_grad_enabled():
            powers = (self.exponent * positive.log()).exp()
        else:  # in place: new memory for each operation takes a third of the time
            powers = positive.log_().mul_(self.exponent).exp_()
        return powers.mean((2, 3)).pow(1 / self.exponent)


class Average(nn.Module):
    """Average pooling."""

    def forward(self, maps: Tensor) -> Tensor:
        """Pool (B,C,h,w) to (B,C)."""
        return maps.mean((2, 3))


def bn_neck(channels: int) -> nn.BatchNorm1d:
    """Build a batch normalisation with its bias frozen at 0 (BoT, Luo et al., CVPRW 2019)."""
    neck = nn.BatchNorm1d(channels)
    neck.bias.requires_grad_(False)
    return neck


class PixelFeatures(nn.Module):
    """Pixel features F on a part map of at least 16×8 cells, for any input size.

    One half of the channels is a projection of the last stage's map, interpolated to the grid of
    the deepest stage with enough cells. The other half is detail (ours): the projected direction of
    the deepest stage of stride 8 or finer, at half the image's mean norm, so that the norm of F
    still ranks the pixels like the deep stage's activation. A shallow stage adds colour and
    texture, which help more within a part than over a whole image. The detail also contains each
    cell's own colour, as mean and deviation of its pixels, which separates a body from its
    background. The projections start as random orthonormal ones, which keep the features' angles.
    """

    COLOUR = 0.35  # its scale relative to the unit direction of the shallow stage

    def __init__(self, backbone: Backbone, image_size: list[int], channels: int) -> None:
        super().__init__()
        enough = [
            i
            for i, stride in enumerate(backbone.strides)
            if all(math.ceil(s / stride) >= m for s, m in zip(image_size, MIN_CELLS, strict=True))
        ]
        self.grid = enough[-1] if enough else 0
        fine = [i for i, stride in enumerate(backbone.strides) if stride <= 8]
        self.shallow = fine[-1] if fine else 0  # a transformer's patches are coarser
        self.deep = _projection(backbone.channels[-1], channels - channels // 2)
        self.detail = _projection(backbone.channels[self.shallow] + 6, channels // 2)

    def forward(self, maps: list[Tensor], images: Tensor) -> Tensor:
        """Map all stages' maps and the normalised images (B,3,H,W) to (B,C,h,w)."""
        size = [max(s, m) for s, m in zip(maps[self.grid].shape[2:], MIN_CELLS, strict=True)]
        deep = self.deep(maps[-1])
        if list(deep.shape[2:]) != size:
            deep = F.interpolate(deep, size=size, mode="bilinear", align_corners=False)
            if deep.requires_grad:
                deep.register_hook(_channels_last)
        scale = 0.5 * deep.detach().norm(dim=1, keepdim=True).mean((2, 3), keepdim=True)
        shallow = _block_means(maps[self.shallow], size)
        mean, square = (_block_means(x, size) for x in (images, images.square()))
        colour = torch.cat([mean, (square - mean**2).clamp(min=1e-8).sqrt()], 1) / math.sqrt(6)
        detail = self.detail(torch.cat([F.normalize(shallow, dim=1), self.COLOUR * colour], 1))
        return torch.cat([deep, scale * F.normalize(detail, dim=1)], 1)


def _block_means(maps: Tensor, size: list[int]) -> Tensor:
    """Compute the means of the (h,w) blocks of maps or images, (B,C,H,W) -> (B,C,h,w)."""
    channels, height, width = maps.shape[1:]
    if height % size[0] or width % size[1]:
        # The same as interpolation by area, whose gradient is not deterministic on a GPU.
        rows, columns = _averages(size[0], height, maps), _averages(size[1], width, maps)
        with tensor_float32(maps.device, False):
            return rows @ maps @ columns.T
    block = [height // size[0], width // size[1]]
    if channels > 3 or maps.is_cuda:
        return F.avg_pool2d(maps, block)
    # On a CPU, a convolution takes a fifth of the time of PyTorch's pooling of three channels.
    kernel = maps.new_full((channels, 1, *block), 1 / math.prod(block))
    return F.conv2d(maps, kernel, stride=block, groups=channels)


def _averages(cells: int, pixels: int, like: Tensor) -> Tensor:
    """Return the weights (cells,pixels) of the mean of all pixels that each cell touches."""
    first = torch.arange(cells, device=like.device)[:, None] * pixels
    pixel = torch.arange(pixels, device=like.device)
    inside = ((pixel + 1) * cells > first) & (pixel * cells < first + pixels)
    return inside.to(like) / inside.sum(1, keepdim=True)


def _channels_last(gradient: Tensor) -> Tensor:
    """Copy a gradient to channels-last memory.

    The gradient of `cat` is a view of a larger one, on which the gradient of bilinear interpolation
    takes 30 times as long on a CPU.
    """
    return gradient.contiguous(memory_format=torch.channels_last)


def _projection(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 1, bias=False)
    nn.init.orthogonal_(conv.weight)
    return conv


class Network(nn.Module):
    """Backbone, global branch and part branch of one run's config (`model` section).

    Args:
        weights: pretrained weights of the backbone; None: random, or loaded later with the whole.
    """

    def __init__(self, config: Config, weights: dict[str, Tensor] | None = None) -> None:
        super().__init__()
        model = config.model
        self.parts, self.classified = model.parts, config.refinement.neighbours > 0
        self.backbone = build_backbone(model.backbone)
        if weights is not None:
            load_weights(self.backbone, weights)
        if model.batch_norm == "frozen":
            fold_batch_norm(self.backbone)
            fuse_relu6(self.backbone)
        width = self.backbone.channels[-1]
        self.pool = GeM() if model.pooling == "gem" else Average()
        self.neck = bn_neck(width)
        if self.parts:
            channels = model.part_channels
            self.pixel_features = PixelFeatures(self.backbone, model.image_size, channels)
            parsed = model.part_source == "parsed"
            self.head = PartHead(channels, self.parts) if parsed else Stripes(self.parts)
            self.part_necks = nn.ModuleList(bn_neck(channels) for _ in range(self.parts))

    def forward(self, images: Tensor) -> Output:
        """Map normalised images (B,3,H,W) to Output; autocast affects only the backbone."""
        maps = self.backbone(images)
        with torch.autocast(images.device.type, enabled=False):
            maps = [stage.float() for stage in maps]
            neck = self.neck(self.pool(maps[-1]))
            feature = F.normalize(neck, dim=1)
            if not self.parts:
                return Output(feature)
            output = self.part_branch(feature, self.pixel_features(maps, images.float()))
            if output.lengths is None:
                return output
            whole = torch.linalg.vector_norm(neck, dim=1, keepdim=True)
            return output._replace(lengths=torch.cat([whole, output.lengths], 1))

    def check_finite(self, what: str) -> None:
        """Raise an error if a weight is infinite or not a number.

        The output of such a network may still be finite: ReLU6 on a CPU turns NaN into 0.

        Args:
            what: beginning of the message.

        Raises:
            ScwmError: a tensor is not finite; the message names the first one.
        """
        for name, values in self.state_dict().items():
            if not torch.isfinite(values).all():
                raise ScwmError(f"{what}: {name} is not finite.", "training")

    def part_branch(self, feature: Tensor, pixels: Tensor) -> Output:
        """Compute part masks and features from pixel features (B,C,h,w).

        Only the part labels train the masks: no gradient of the part features reaches them.
        """
        masks, logits = self.head(pixels)
        pooled = pool_parts(pixels, masks[:, 1:].detach())
        necks = torch.stack([neck(pooled[:, k]) for k, neck in enumerate(self.part_necks)], 1)
        classified = self.training and self.classified
        lengths = torch.linalg.vector_norm(necks, dim=2) if classified else None
        parts = F.normalize(necks, dim=2)
        return Output(feature, parts, visibility(masks), masks, logits, pixels, lengths)

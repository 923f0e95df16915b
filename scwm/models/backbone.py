"""Backbones: stages that run one after the other, and their weights."""

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from scwm.core.errors import ScwmError
from scwm.core.plugins import BACKBONES


class Backbone(nn.Module):
    """A network as a sequence of stages; each stage's output is a feature map.

    Args:
        stages: modules to run one after the other.
        channels: output channels of each stage.
        strides: pixels of the image per cell of each stage's output.
    """

    def __init__(self, stages: list[nn.Module], channels: list[int], strides: list[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels, self.strides = channels, strides

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images (B,3,H,W) to one map (B,C_s,H/stride_s,W/stride_s) for each stage."""
        maps = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return maps


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every batch normalisation, with its running statistics, into the convolution before it.

    The network in evaluation mode computes the same. In training its statistics stay fixed (frozen
    batch normalisation, as in the fine-tuning of He et al., ICCV 2017, with small batches), and
    each step saves the passes of the normalisation over all activations.
    """
    before = ""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            fused = fuse_conv_bn_eval(getattr(module, before).eval(), child.eval())
            setattr(module, before, fused.train().requires_grad_())
            setattr(module, name, nn.Identity())
        fold_batch_norm(child)
        before = name


def resnet_stages(net: torchvision.models.ResNet) -> Backbone:
    """Split a ResNet of torchvision into stages of strides 4, 8, 16 and 16 (last stride 1)."""
    first = net.layer4[0]
    for conv in (first.conv1, first.conv2, first.downsample[0]):
        conv.stride = (1, 1)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1)
    width = net.fc.in_features // 8
    return Backbone(
        [stem, net.layer2, net.layer3, net.layer4],
        [width, 2 * width, 4 * width, 8 * width],
        [4, 8, 16, 16],
    )


def build_backbone(name: str) -> Backbone:
    """Build a network of scwm/models/backbones with new parameters from torch's generator."""
    backbone: Backbone = BACKBONES.load(name).build()
    for module in backbone.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = False  # an in-place operation makes autograd keep a copy of the input
    return backbone


def load_weights(backbone: Backbone, state: dict[str, Tensor]) -> None:
    """Copy ImageNet weights into `backbone`.

    The stages keep torchvision's order of parameters and buffers. So values are matched in that
    order and checked by shape, and the names in the file do not matter. A classifier at the end of
    `state` and the step counters of batch normalisation are left out.

    Raises:
        ScwmError: the weights belong to another network.
    """
    own = {k: v for k, v in backbone.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = [v for k, v in state.items() if not k.endswith("num_batches_tracked")]
    fits = len(given) >= len(own) and all(
        a.shape == b.shape for a, b in zip(own.values(), given, strict=False)
    )
    if not fits or len(given) > len(own) + 4:
        raise ScwmError(
            "The weights do not fit the backbone.", "model.weights", "use weights of this network"
        )
    with torch.no_grad():
        for value, new in zip(own.values(), given, strict=False):
            value.copy_(new)

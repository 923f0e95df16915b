"""A small backbone, for trainings whose result is compared and not scored."""

from torch import nn

from scwm.models.backbone import Backbone


def smooth_backbone() -> Backbone:
    """Four small stages with batch normalisation and without ReLU, whose gates rounding flips."""
    channels, strides = [8, 8, 16, 16], [4, 8, 16, 16]
    stages: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.SiLU())
        for i, o, s in zip([3, *channels[:-1]], channels, [4, 2, 2, 1], strict=True)
    ]
    return Backbone(stages, channels, strides)

"""Backbones of timm (Wightman, PyTorch Image Models, 2019), by their names there."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from scwm.core.errors import ScwmError, suggest
from scwm.core.plugins import optional_module
from scwm.data.augment import IMAGENET_MEAN, IMAGENET_STD
from scwm.models.backbone import Backbone


def named(name: str) -> SimpleNamespace:
    """Return what a module of this folder defines, for one network."""
    weights = {"pretrained": partial(pretrained, name)}
    return SimpleNamespace(build=partial(build, name), WEIGHTS=weights)


class FeatureMaps(Backbone):
    """A network with all its maps: stages of a convolutional one, last blocks of a transformer.

    Args:
        net: a network that timm has built for its features.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, net: Any) -> None:
        super().__init__([net], net.feature_info.channels(), net.feature_info.reduction())
        self.channels_last = str(getattr(net, "output_fmt", "NCHW")).endswith("NHWC")
        # Images come normalised with ImageNet's mean and deviation; some networks have others.
        given, own = (
            [torch.tensor(values).view(1, 3, 1, 1) for values in pair]
            for pair in (
                (IMAGENET_MEAN, IMAGENET_STD),
                (net.pretrained_cfg["mean"], net.pretrained_cfg["std"]),
            )
        )
        self.register_buffer("scale", given[1] / own[1], persistent=False)
        self.register_buffer("shift", (given[0] - own[0]) / own[1], persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images (B,3,H,W) to one map (B,C_s,h_s,w_s) for each stage.

        Raises:
            ScwmError: the network takes images of another size only.
        """
        try:
            maps = self.stages[0](images * self.scale + self.shift)
        except torch.OutOfMemoryError:
            raise
        except (AssertionError, RuntimeError) as error:
            remedy = "set it to a size that the network takes, or choose another network"
            what = f"The backbone does not take images of {[*images.shape[2:]]}: {error}"
            raise ScwmError(what, "model.image_size", remedy) from error
        return [x.permute(0, 3, 1, 2) if self.channels_last else x for x in maps]


def build(name: str, pretrained: bool = False) -> Backbone:
    """Build a network of timm at its own strides; transformers for images of any size.

    Args:
        name: as timm calls the network, optionally with the tag of its weights.
        pretrained: whether to download timm's weights.

    Raises:
        ScwmError: timm is not installed, has no such network, or gives no maps of it.
    """
    timm = optional_module("timm", "timm")
    create = partial(timm.create_model, name, pretrained=pretrained, features_only=True)
    try:
        try:
            net = create(dynamic_img_size=True, dynamic_img_pad=True)
        except TypeError:  # not a transformer with an embedding of positions
            net = create()
    except OSError as error:
        remedy = "check the network, or name a local file: --set model.weights=FILE"
        raise ScwmError(f"Cannot download timm's weights: {error}", name, remedy) from error
    except (RuntimeError, AttributeError, AssertionError) as error:
        base, known = name.partition(".")[0], timm.list_models()
        hint = "" if base in known else suggest(base, known)  # else the tag is wrong
        what = f"{str(error).rstrip('.')}.{hint}"
        remedy = "choose one of timm.list_models() that gives feature maps"
        raise ScwmError(what, f"model.backbone: timm/{name}", remedy) from error
    _split_activations(net)
    return FeatureMaps(net)


def pretrained(name: str) -> dict[str, Tensor]:
    """Download timm's weights of a network, which its tag or timm's default selects."""
    return build(name, pretrained=True).state_dict()


def _split_activations(module: nn.Module) -> None:
    """Replace timm's normalisations with an activation by sequences of both.

    Virtual batches and several processes replace a normalisation with another class.
    """
    for name, child in module.named_children():
        after = list(child.children())  # drop and activation
        if isinstance(child, nn.BatchNorm2d) and after:
            layer = nn.BatchNorm2d(child.num_features, child.eps, child.momentum)
            layer.load_state_dict(child.state_dict())
            setattr(module, name, nn.Sequential(layer, *after))
        else:
            _split_activations(child)

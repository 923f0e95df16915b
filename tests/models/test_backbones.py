"""What every backbone must do; a new one is tested by being there, as in test_contracts.py."""

import pytest
import torch
from torch import nn

from scwm.core.errors import ScwmError
from scwm.core.plugins import BACKBONES
from scwm.models import load_weights
from scwm.models.backbone import build_backbone, fold_batch_norm
from scwm.training.trainer import build_network

SIZES = ([128, 64], [96, 48], [64, 32], [256, 128])
every_backbone = pytest.mark.parametrize("backbone", BACKBONES.names())


@pytest.mark.parametrize("size", SIZES, ids=str)
@every_backbone
@torch.inference_mode()
def test_contract_of_every_backbone(tiny_config, backbone, size):
    """Shapes, norms and sums of Output; the part map tells head from shoulders at every size."""
    section = {"backbone": backbone, "image_size": size}
    network = build_network(tiny_config("scwm", model=section), None).eval()
    output = network(torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)))
    height, width = output.pixels.shape[2:]
    assert height >= 16 and width >= 8
    assert output.global_feature.shape == (2, network.backbone.channels[-1])
    assert output.pixels.shape == (2, 32, height, width)
    assert output.part_features.shape == (2, 3, 32)
    assert output.visibility.shape == (2, 3)
    assert output.masks.shape == output.logits.shape == (2, 4, height, width)
    assert all(torch.isfinite(values).all() for values in output[:6])
    for features in (output.global_feature, output.part_features):
        norms = features.norm(dim=-1)
        assert torch.allclose(norms, torch.ones_like(norms), atol=1e-4)
    assert torch.allclose(output.masks.sum(1), torch.ones(2, height, width), atol=1e-5)
    assert (output.visibility >= 0).all() and (output.visibility.sum(1) <= 1 + 1e-6).all()


@every_backbone
@torch.inference_mode()
def test_stages_have_the_stated_channels_and_strides(backbone):
    """The last stage's stride is 16 instead of torchvision's 32 (last stride 1)."""
    net = build_backbone(backbone).eval()
    maps = net(torch.zeros(1, 3, 64, 32))
    assert [m.shape[1] for m in maps] == net.channels
    assert [(64 // m.shape[2], 32 // m.shape[3]) for m in maps] == [(s, s) for s in net.strides]
    assert net.strides[-1] == 16


@every_backbone
def test_folded_batch_norm_computes_the_same_and_still_learns(backbone):
    torch.manual_seed(0)
    net = build_backbone(backbone).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        before = net(images)
        fold_batch_norm(net)
        after = net.train()(images)
    for one, other in zip(before, after, strict=True):
        assert (one - other).abs().max() < 1e-5 * one.abs().max()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    net(images)[-1].square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


@every_backbone
def test_parameters_of_a_backbone(backbone):
    """One seed, one network, and then another; it takes the weights of its like and no others."""
    torch.manual_seed(0)
    given, net = build_backbone(backbone).state_dict(), build_backbone(backbone)
    assert any(not torch.equal(value, given[name]) for name, value in net.state_dict().items())
    torch.manual_seed(0)
    again = build_backbone(backbone).state_dict()
    assert all(torch.equal(value, given[name]) for name, value in again.items())
    load_weights(net, given)
    assert all(torch.equal(value, given[name]) for name, value in net.state_dict().items())
    with pytest.raises(ScwmError, match="do not fit"):
        load_weights(net, dict(list(given.items())[: len(given) // 2]))
    weights = BACKBONES.load(backbone).WEIGHTS
    assert all(isinstance(name, str) and callable(fetch) for name, fetch in weights.items())

"""Convolution with ReLU6 as one operator: layer by layer what torch's own layers compute."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from scwm.models.backbone import build_backbone, fold_batch_norm
from scwm.models.conv_relu6 import ConvReLU6, fuse_relu6

EXACT = {"atol": 1e-5, "rtol": 1e-5}
BFLOAT16 = 2**-7  # relative: 8 bits, and float32 sums


def spread_weights(backbone: nn.Module) -> None:
    """Weights of variance 1 / inputs, so that values neither vanish nor all reach 6."""
    generator = torch.Generator().manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            size = module.weight[0].numel()
            module.weight.data = torch.randn(module.weight.shape, generator=generator)
            module.weight.data *= (2 / size) ** 0.5


@pytest.fixture(scope="module")
def layers() -> dict[str, tuple[nn.Sequential, tuple[int, ...]]]:
    """Convolution and ReLU6 of every such pair of MobileNetV2, and the shape of its input."""
    backbone = build_backbone("mobilenet_v2")
    spread_weights(backbone)
    fold_batch_norm(backbone)
    found = {}

    def keep(name):
        def hook(module: nn.Sequential, inputs: tuple[Tensor], _: Tensor) -> None:
            found[name] = nn.Sequential(module[0], module[2]), tuple(inputs[0].shape)

        return hook

    for name, module in backbone.named_modules():
        if isinstance(module, nn.Sequential) and [*map(type, module)][2:] == [nn.ReLU6]:
            module.register_forward_hook(keep(name))
    with torch.no_grad():
        backbone(torch.randn(2, 3, 64, 32))
    assert len(found) == 35
    return found


def results(layer: nn.Module, images: Tensor, arriving: Tensor, kind: torch.dtype) -> list[Tensor]:
    """Output and gradients of the input, the weight and the bias, in float32."""
    layer.zero_grad()
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
        output = layer(images)
    assert output.dtype == kind
    output.backward(arriving.to(kind))
    gradients = [parameter.grad for parameter in layer.parameters()]
    return [output.detach().float(), images.grad, *gradients]


def compared(layers, kind: torch.dtype):
    """For each layer its name, torch's results in float32 and the operator's in `kind`."""
    generator = torch.Generator().manual_seed(1)
    for name, (layer, shape) in layers.items():
        images = torch.randn(shape, generator=generator).to(memory_format=torch.channels_last)
        with torch.no_grad():
            values = layer[0](images)
        clear = (values.abs() > 0.1) & ((values - 6).abs() > 0.1)
        assert clear.float().mean() > 0.5, f"{name}: rounding decides most gradients"
        arriving = torch.randn(values.shape, generator=generator) * clear
        expected = results(layer, images, arriving, torch.float32)
        fused = ConvReLU6(copy.deepcopy(layer[0]))
        yield name, expected, results(fused, images, arriving, kind)


def test_every_layer_in_float32_is_torchs(layers):
    for name, expected, found in compared(layers, torch.float32):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, **EXACT, msg=lambda m, n=name: f"{n}: {m}")


def test_every_layer_in_bfloat16_is_float32s_but_for_rounding(layers):
    """Where oneDNN has no bfloat16 on this CPU, that is torch's own slow path."""
    for name, expected, found in compared(layers, torch.bfloat16):
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            error = (one - other).norm() / other.norm()
            assert error < BFLOAT16, (name, number, error)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_whole_network_is_that_of_two_layers(precision):
    """The same outputs of all stages and the same gradients; names of parameters stay.

    Kernels of some CPUs round the two networks differently, and a value that rounding moves across
    0 or 6 changes a gradient, by up to 1.3 % in float32. So most draws of images must agree, and
    the others nearly. The tests of layers leave such values out.
    """
    backbone = build_backbone("mobilenet_v2")
    spread_weights(backbone)
    fold_batch_norm(backbone)
    fused = copy.deepcopy(backbone)
    fuse_relu6(fused)
    assert list(fused.state_dict()) == list(backbone.state_dict())
    assert sum(isinstance(module, ConvReLU6) for module in fused.modules()) == 35
    bound = 1e-5 if precision == "float32" else 0.02
    errors = []
    for seed in range(5):
        images = torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(seed))
        stages = []
        for net in (backbone, fused):
            net.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                stages.append([stage.float() for stage in net(images)])
            sum(stage.square().mean() for stage in stages[-1]).backward()
        assert max(difference(one, other) for one, other in zip(*stages, strict=True)) < bound
        pairs = zip(fused.parameters(), backbone.parameters(), strict=True)
        errors.append(max(difference(one.grad, other.grad) for one, other in pairs))
    assert sorted(errors)[2] < bound and max(errors) < 0.05, errors


def difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_batch_statistics_stay_between_convolution_and_relu6():
    backbone = build_backbone("mobilenet_v2")
    fuse_relu6(backbone)
    assert not any(isinstance(module, ConvReLU6) for module in backbone.modules())


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="this CPU has none itself"
)
def test_the_same_on_a_cpu_without_avx512():
    """oneDNN and torch are told to use AVX2 only, for which they have other kernels."""
    narrow = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    own = [f"{__file__}::{name}" for name in dir(sys.modules[__name__]) if "layer_in" in name]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *own]
    done = subprocess.run(command, env=os.environ | narrow, capture_output=True, text=True)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout

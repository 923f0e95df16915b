"""Convolution and ReLU6 as one operator: MobileNetV2 with frozen batch normalisation on a CPU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from scwm.core.device import exporting

aten, onednn = torch.ops.aten, torch.ops.mkldnn


def fuse_relu6(module: nn.Module) -> None:
    """Replace each sequence of convolution, identity and ReLU6 with `ConvReLU6`.

    The change is in place and keeps the names of parameters.
    """
    for name, child in module.named_children():
        layers = list(child.children())
        if (
            len(layers) == 3
            and isinstance(layers[0], nn.Conv2d)
            and layers[0].bias is not None
            and layers[0].padding_mode == "zeros"
            and isinstance(layers[1], nn.Identity)
            and isinstance(layers[2], nn.ReLU6)
        ):
            setattr(module, name, ConvReLU6(layers[0]))
        else:
            fuse_relu6(child)


class ConvReLU6(nn.Sequential):
    """``min(max(conv(x), 0), 6)``, with the function and the gradient of two layers.

    On a CPU, maps of the first stages have tens of megabytes, and a separate ReLU6 reads and writes
    them again. Here oneDNN clips while it writes the convolution's output. The gradient needs only
    that output: it passes where the output is neither 0 nor 6.

    Under autocast the input gradient of a depthwise convolution with a stride is computed in
    float32. oneDNN has no fast kernel for it in bfloat16: the three such convolutions of
    MobileNetV2 take about 10 to 100 times as long as in float32, more than half of a training step.
    `python -m benchmarks backbone` measures them, and whole steps in both types.

    Unlike two layers, the operator turns NaN into 0 (`Network.check_finite` finds NaN in weights).

    Args:
        conv: a convolution with a bias.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(conv)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B,C,H,W) to (B,D,h,w)."""
        conv: Any = self[0]
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else maps.dtype
        if not _fusible(maps, kind):
            return F.relu6(conv(maps))
        values = (x.to(kind) for x in (maps, conv.weight, conv.bias))
        geometry = conv.stride, conv.padding, conv.dilation, conv.groups
        output: Tensor = _Fused.apply(*values, geometry)
        return output


def _fusible(maps: Tensor, kind: torch.dtype) -> bool:
    if maps.device.type != "cpu" or maps.ndim != 4 or exporting():
        return False
    # The operator is one of torch's own compiler: another version may lack it.
    available = torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()
    if not (available and hasattr(onednn, "_convolution_pointwise")):
        return False
    if kind == torch.bfloat16:
        return bool(onednn._is_mkldnn_bf16_supported())
    return kind == torch.float32


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, geometry: tuple[Any, ...]
    ) -> Tensor:
        stride, padding, dilation, groups = geometry
        output: Tensor = onednn._convolution_pointwise(
            *(maps, weight, bias, padding, stride, dilation, groups), "hardtanh", [0.0, 6.0], ""
        )
        ctx.save_for_backward(maps, weight, output)
        ctx.geometry = stride, padding, dilation, False, (0, 0), groups
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight, output = ctx.saved_tensors
        whole, *others = ctx.needs_input_grad[:3]
        passed = aten.hardtanh_backward(gradient, output, 0, 6)
        strided = ctx.geometry[-1] > 1 and max(ctx.geometry[0]) > 1
        slow = strided and passed.dtype == torch.bfloat16
        arriving, *own = aten.convolution_backward(
            *(passed, maps, weight, [len(weight)]), *ctx.geometry, [whole and not slow, *others]
        )
        if whole and slow:
            shape = passed.new_empty(1, dtype=torch.float32).expand(maps.shape)
            exact = aten.convolution_backward(
                *(passed.float(), shape, weight.float(), None), *ctx.geometry, [True, False, False]
            )
            arriving = exact[0].to(maps.dtype)
        return arriving, *own, None

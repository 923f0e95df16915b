"""MobileNetV2 on one core, and the start of a job.

Convolution and ReLU6 as one operator (`scwm.models.conv_relu6`) next to torch's two layers: in a
training step in float32 and in bfloat16, in the extraction of features, and for the three strided
depthwise convolutions alone, which is what the rule of that file is about. A job is what every
process of the workflow imports before it works, with the bytecode that `make` writes at
installation and without any.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness import Stage
from scwm.core.allocator import keep_freed_memory
from scwm.models.backbone import build_backbone, fold_batch_norm
from scwm.models.conv_relu6 import ConvReLU6, fuse_relu6

HEIGHT, WIDTH, STEPS = 128, 64, 4
STRIDED = {96: (64, 32), 144: (32, 16), 192: (16, 8)}  # channels and map, at 128x64 pixels


def networks(batch: int) -> dict[str, Any]:
    """Images, and the frozen backbone with our operator and with torch's layers."""
    keep_freed_memory()
    torch.manual_seed(0)
    plain = build_backbone("mobilenet_v2")
    fold_batch_norm(plain)
    fused = build_backbone("mobilenet_v2")
    fold_batch_norm(fused)
    fused.load_state_dict(plain.state_dict())
    fuse_relu6(fused)
    data: dict[str, Any] = {"images": torch.randn(batch, 3, HEIGHT, WIDTH)}
    for name, net in (("ours", fused), ("reference", plain)):
        data[name] = net.to(memory_format=torch.channels_last)
        steps(data[name], data["images"], 1)
    return data


def step(which: str, reduced: bool, data: dict[str, Any]) -> float:
    """STEPS forward and backward passes; returns the norm of the last one's gradient."""
    return steps(data[which], data["images"], STEPS, reduced)


def steps(net: nn.Module, images: Tensor, count: int, reduced: bool = False) -> float:
    """Forward and backward passes; returns the norm of the last one's gradient."""
    for _ in range(count):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if reduced else nullcontext():
            maps = net(images)
        sum(stage.float().square().mean() for stage in maps).backward()
    gradients = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
    return float(torch.cat(gradients).norm())


@torch.inference_mode()
def features(which: str, data: dict[str, Any]) -> float:
    """Norm of the last maps, which are computed twice."""
    for _ in range(2):
        maps = data[which](data["images"])
    return float(maps[-1].norm())


def depthwise(batch: int) -> dict[str, Any]:
    """The strided depthwise layers with ReLU6, ours and torch's, and an input of each."""
    keep_freed_memory()
    torch.manual_seed(0)
    layers, inputs = [], []
    for channels, size in STRIDED.items():
        conv = nn.Conv2d(channels, channels, 3, 2, 1, groups=channels)
        layers.append(conv.to(memory_format=torch.channels_last))
        images = torch.randn(batch, channels, *size).to(memory_format=torch.channels_last)
        inputs.append(images.requires_grad_())
    ours = [ConvReLU6(conv) for conv in layers]
    return {
        "inputs": inputs,
        "ours": ours,
        "reference": [nn.Sequential(conv, nn.ReLU6()) for conv in layers],
    }


def gradients(which: str, data: dict[str, Any]) -> float:
    """Norm of the gradients of all inputs, by bfloat16 autocast."""
    found: list[Tensor] = []
    for layer, images in zip(data[which], data["inputs"], strict=True):
        with torch.autocast("cpu", torch.bfloat16):
            output = layer(images)
        found += torch.autograd.grad(output.float().square().sum(), images)
    return float(torch.cat([gradient.flatten() for gradient in found]).norm())


def relative(ours: float, reference: float) -> dict[str, float]:
    """The relative difference of two norms."""
    return {"norm_error": abs(ours - reference) / abs(reference)}


def modules(ours: int, reference: int) -> dict[str, float]:
    """Whether both processes imported as much."""
    return {"modules": ours / reference}


def nothing(size: int) -> None:
    """No input."""


def start(bytecode: bool, _: None) -> int:
    """Start a process that imports what an evaluation does; returns how many modules it has."""
    command = "import sys, scwm.evaluation.evaluate; print(len(sys.modules))"
    with tempfile.TemporaryDirectory() as folder:
        place = {} if bytecode else {"PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", command], env=os.environ | place, capture_output=True, check=True
        )
    return int(done.stdout)


def _stage(name: str, unit: str, size: int, **functions: Any) -> Stage:
    return Stage(
        name=name,
        unit=unit,
        sizes=(size,),
        reference_sizes=(size,),
        tiny=2,
        threads=1,
        repeats=5,
        **functions,
    )


def _step(reduced: bool, tolerance: float) -> Stage:
    return _stage(
        "backbone_step_bfloat16" if reduced else "backbone_step_float32",
        "images a batch",
        48,
        inputs=networks,
        ours=partial(step, "ours", reduced),
        reference=partial(step, "reference", reduced),
        agreement=relative,
        tolerance={"norm_error": tolerance},
    )


STAGES = (
    _step(reduced=False, tolerance=1e-4),
    _step(reduced=True, tolerance=0.02),
    _stage(
        "backbone_features",
        "images a batch",
        128,
        inputs=networks,
        ours=partial(features, "ours"),
        reference=partial(features, "reference"),
        agreement=relative,
        tolerance={"norm_error": 1e-4},
    ),
    _stage(
        "strided_depthwise_bfloat16",
        "images a batch",
        48,
        inputs=depthwise,
        ours=partial(gradients, "ours"),
        reference=partial(gradients, "reference"),
        agreement=relative,
        tolerance={"norm_error": 0.02},
    ),
    _stage(
        "job_start",
        "processes",
        1,
        inputs=nothing,
        ours=partial(start, True),
        reference=partial(start, False),
        agreement=modules,
        tolerance={"modules": 0.0},
    ),
)

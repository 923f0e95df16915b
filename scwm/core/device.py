"""The device and the precision of computations in torch."""

import os
from typing import TypeVar

import torch
from torch import nn

from scwm.core.config import changed
from scwm.core.errors import ScwmError
from scwm.core.settings import Config

Module = TypeVar("Module", bound=nn.Module)


def default_device() -> torch.device:
    """Return the device that the variable SCWM_DEVICE names: cpu, cuda or auto (the default).

    ``auto`` is the first GPU, or the CPU if torch finds no GPU.

    Raises:
        ScwmError: the variable has another value, or names a GPU and torch finds none.
    """
    wanted = os.environ.get("SCWM_DEVICE") or "auto"
    there = torch.cuda.is_available()
    if wanted not in ("auto", "cpu", "cuda"):
        raise ScwmError(f"Unknown device '{wanted}'.", "SCWM_DEVICE", "use auto, cpu or cuda")
    if wanted == "cuda" and not there:
        raise ScwmError(
            "A GPU is asked for, and torch finds none.",
            "SCWM_DEVICE, or `gpu` in the benchmark's config",
            "check `nvidia-smi` and that torch is a CUDA build, or set `gpu: false`",
        )
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def place(network: Module, device: torch.device) -> Module:
    """Move `network` to `device`, with channels-last convolutions, which are faster on both."""
    return network.to(device).to(memory_format=torch.channels_last)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return a context in which a network computes in a precision: float32 | tf32 | bfloat16.

    On a GPU the choice of TF32 for products of float32 stays after the block, because the backward
    pass runs there.
    """
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def resolve_precision(config: Config, device: torch.device, section: str = "training") -> Config:
    """Resolve a section's `precision` on a device to float32, tf32 or bfloat16.

    ``auto`` becomes bfloat16 on a GPU that supports it and float32 everywhere else. It does not
    depend on the kind of CPU: two CPUs would otherwise train two different methods. A CPU has no
    TF32, so ``tf32`` becomes float32 there.

    Args:
        section: training | evaluation.
    """
    precision, gpu = getattr(config, section).precision, device.type == "cuda"
    if precision == "auto":
        reduced = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bfloat16" if reduced else "float32"
    elif precision == "tf32" and not gpu:
        precision = "float32"
    return changed(config, {section: {"precision": precision}})

"""The device and the precision of computations in torch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from scwm.core.config import changed
from scwm.core.errors import ScwmError
from scwm.core.settings import Config

Module = TypeVar("Module", bound=nn.Module)
# cuBLAS reads it once, at a process's first product. Without it, deterministic algorithms fail.
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
os.environ[CUBLAS] = os.environ.get(CUBLAS) or ":4096:8"


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
            "--device, SCWM_DEVICE, or `gpu` in the benchmark's config",
            "check `nvidia-smi` and that torch is a CUDA build, or choose the CPU: "
            "`--device cpu`, or `gpu: false` in the config",
        )
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def place(network: Module, device: torch.device) -> Module:
    """Move `network` to `device`, with channels-last convolutions, which are faster on both."""
    return network.to(device).to(memory_format=torch.channels_last)


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Compute a network inside the block in a precision: float32 | tf32 | bfloat16."""
    with (
        tensor_float32(device, precision == "tf32"),
        torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        yield


@contextmanager
def tensor_float32(device: torch.device, enabled: bool) -> Iterator[None]:
    """Choose TF32 or float32 for a GPU's products of float32 inside the block.

    A backward pass computes in the precision of its own block, not in that of its forward pass.
    """
    if device.type != "cuda":
        yield
        return
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = enabled
    torch.set_float32_matmul_precision("high" if enabled else "highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def exporting() -> bool:
    """Whether torch records the operations, to compile or to export them."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


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

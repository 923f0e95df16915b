"""The origin of a number: code, data, weights, versions, hardware, time."""

import importlib.metadata
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from scwm.core.config import config_hash
from scwm.core.freeze import git, hash_of_run
from scwm.core.settings import Config

VECTORS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
NARROWING = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")  # variables that change the kernels
PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "timm",
    "faiss-cpu",
    "infomap",
    "snakemake",
)


def describe_run(config: Config, data_hash: str, weights_hash: str) -> dict[str, Any]:
    """Describe a run as far as it is known at its start."""
    return {
        "config_hash": config_hash(config),
        "data_hash": data_hash,
        "weights_hash": weights_hash,
        "seed": config.seed,
        "frozen": hash_of_run(config),
        **describe_machine(),
    }


def describe_machine() -> dict[str, Any]:
    """Describe the commit of the code, the versions of the packages and the hardware."""
    changes = git("status", "--porcelain", "--untracked-files=no")
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if changes is None else bool(changes),
        "versions": {"python": platform.python_version(), **_versions()},
        "hardware": {
            "processor": _cpu_field("model name") or platform.machine(),
            "instruction_sets": instruction_sets(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def peak_memory_mib() -> int:
    """Return the largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform != "darwin" else peak // 1024**2


def peak_gpu_memory_mib() -> int | None:
    """Return the peak GPU memory of this process's tensors so far, in MiB; None on a CPU."""
    return torch.cuda.max_memory_allocated() // 2**20 if torch.cuda.is_available() else None


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def instruction_sets() -> str:
    """List the vector instructions of the CPU and of torch's kernels.

    They determine the rounding of sums. An example is ``avx2 avx512f avx512_bf16 (torch: AVX512)``.
    """
    flags = (_cpu_field("flags") or _cpu_field("Features")).split()
    has = [name for name in VECTORS if name in flags]
    set_ = [f"{name}={os.environ[name]}" for name in NARROWING if os.environ.get(name)]
    return " ".join([*has, f"(torch: {torch.backends.cpu.get_cpu_capability()})", *set_])


def _cpu_field(name: str) -> str:
    """Read a field of the first CPU in /proc/cpuinfo; empty if it does not exist."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(found, "")

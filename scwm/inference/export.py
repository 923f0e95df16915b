"""A trained model as one file for other programs, checked against the model, with a model card.

The exported graph takes crops (B,3,H,W) float32, RGB in 0..1, of the model's image size, and
returns their unit features (B,D). It includes the normalisation and the choice of the feature.
"""

import copy
import json
import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from scwm.core.config import plain
from scwm.core.errors import ScwmError
from scwm.core.files import check_output, whole_file, write_text
from scwm.core.plugins import optional_module
from scwm.core.settings import Config
from scwm.data.augment import IMAGENET_MEAN, IMAGENET_STD
from scwm.inference.api import Model, default_feature, read_safetensors
from scwm.inference.model_card import INTENDED_USE, model_card
from scwm.models import Network
from scwm.models.embedding import collect

TOLERANCE = 1e-4  # of a feature's entries, which are below 1
HALF_TOLERANCE = 1e-2
BATCHES = (3, 1, 5)  # crops of the checks: a graph must not fix the batch size


class Crops(nn.Module):
    """Map crops (B,3,H,W), RGB in 0..1, to one unit feature (B,D)."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: Network, feature: str) -> None:
        super().__init__()
        self.network, self.feature = network, feature
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])

    def forward(self, crops: Tensor) -> Tensor:
        """Map (B,3,H,W) to (B,D)."""
        return collect([self.network((crops - self.mean) / self.std)]).features()[self.feature]


def export(
    model: Model, run: Path, out: Path, feature: str | None = None, half: bool = False
) -> float:
    """Write a model as TorchScript (.pt), ONNX (.onnx) or weights (.safetensors), with its card.

    Args:
        model: the model.
        run: folder of its run; the card lists its metrics and provenance.
        out: the file; the card gets its name with the suffix .md.
        feature: feature of .pt and .onnx: global | parts | both; default: the model's own.
        half: store the weights of .safetensors as float16, which halves the file. The difference is
            then the rounding's, and may be larger than `TOLERANCE`.

    Returns:
        The largest difference between an entry of a feature by the file and by the model, on random
        crops of several batch sizes.

    Raises:
        ScwmError: the kind of file is unknown, a package is not installed, or the outputs differ.
    """
    if out.suffix not in WRITERS:
        raise ScwmError(f"Unknown kind of file '{out.suffix}'.", out, f"use {', '.join(WRITERS)}")
    check_output(out, {out.with_suffix(".md"): INTENDED_USE})
    if os.path.realpath(out) == os.path.realpath(run):
        raise ScwmError("The output is the model itself.", out, "give another path")
    chosen = default_feature(model, feature)
    if half and out.suffix != ".safetensors":
        raise ScwmError("Only .safetensors can hold float16.", out, "leave out --half")
    crops = Crops(copy.deepcopy(model.network).cpu(), chosen).eval()
    write = partial(_safetensors, half=True) if half else WRITERS[out.suffix]
    with whole_file(out) as temporary, torch.inference_mode():
        again = write(crops, model.config, temporary)
        difference = max(_difference(crops, again, model.config, count) for count in BATCHES)
        if not difference <= (HALF_TOLERANCE if half else TOLERANCE):
            raise ScwmError(
                f"The exported model's features differ by up to {difference:.2g}.",
                out,
                "nothing was written; try another kind of file",
            )
    card = model_card(model, run, out, chosen, difference)
    write_text(card, out.with_suffix(".md"))
    return difference


def _random_crops(config: Config, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, 3, *config.model.image_size, generator=generator)


Features = Callable[[Tensor], Tensor]


def _difference(model: Features, again: Features, config: Config, count: int) -> float:
    crops = _random_crops(config, count)
    return float((model(crops) - again(crops)).abs().max())


def _torchscript(crops: Crops, config: Config, path: Path) -> Features:
    with warnings.catch_warnings():
        # Its development has ended, but many programs read it. Whether the trace is valid
        # for other crops and batches is checked on them.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(crops, _random_crops(config, 2), check_trace=False)
        with path.open("wb") as file:  # given the path, torch ends the process on a full disk
            torch.jit.save(traced, file)
        loaded: Features = torch.jit.load(path)
        return loaded


def _onnx(crops: Crops, config: Config, path: Path) -> Features:
    for name in ("onnx", "onnxscript"):
        optional_module(name, "'scwm[export]'")
    runtime = optional_module("onnxruntime", "'scwm[export]'")
    torch.onnx.export(
        crops,
        (_random_crops(config, 2),),
        path,
        input_names=["crops"],
        output_names=["features"],
        dynamic_shapes={"crops": {0: torch.export.Dim("batch")}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(session.run(None, {"crops": batch.numpy()})[0])


def _safetensors(crops: Crops, config: Config, path: Path, half: bool = False) -> Features:
    state = {
        name: (value.half() if half and value.is_floating_point() else value).contiguous()
        for name, value in crops.network.state_dict().items()
    }
    path.write_bytes(
        safetensors.torch.save(state, {"format": "pt", "config": json.dumps(plain(config))})
    )
    network, _ = read_safetensors(path)
    return Crops(network.eval(), crops.feature)


WRITERS = {".pt": _torchscript, ".onnx": _onnx, ".safetensors": _safetensors}

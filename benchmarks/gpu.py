"""What a GPU makes of the training: images a second by setting, and where an epoch's time goes.

    python -m benchmarks.gpu [--backbones mobilenet_v2 resnet50] [--images 12936] [--steps 50]

Random images and weights, `scwm` at the settings of config/market1501.yaml. The share that the GPU
is busy is the time of its kernels over that of the clock. Written to gpu.csv and gpu_epoch.csv in
`--out`. On a CPU it runs too, and says nothing of interest.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import inputs
from benchmarks.training_step import prepared
from scwm.core.config import changed, merge, parse_assignments
from scwm.core.provenance import describe_machine, peak_gpu_memory_mib
from scwm.core.yaml_files import CONFIG_DIR, read_yaml
from scwm.data.store import StoreSplit
from scwm.method.pseudo_labels import pseudo_labels
from scwm.models import embedding
from scwm.training import trainer as training
from scwm.training.epoch import Epoch
from scwm.training.trainer import Trainer

SETTINGS = {  # precision, channels last, images on the GPU
    "float32": ("float32", False, False),
    "TF32": ("tf32", False, False),
    "bfloat16": ("bfloat16", False, False),
    "+ channels last": ("bfloat16", True, False),
    "+ images on the GPU": ("bfloat16", True, True),
}


@contextmanager
def only(channels_last: bool, resident: bool) -> Iterator[None]:
    """Without what the suite does by itself."""
    with ExitStack() as stack:
        if not channels_last:  # of weights and images; either would make all maps so
            forward = Trainer.forward
            stack.enter_context(patch.object(training, "place", lambda n, device: n.to(device)))
            stack.enter_context(
                patch.object(Trainer, "forward", lambda t, i: forward(t, i.contiguous()))
            )
        if not resident:
            stack.enter_context(patch.object(embedding, "fits", lambda size, free: False))
        yield


def wait() -> None:
    """Until the GPU has done what it was asked."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds_of(trainer: Trainer, epoch: Epoch) -> float:
    """Of the epoch's steps, by the clock."""
    wait()
    start = time.perf_counter()
    trainer.run_steps(epoch)
    wait()
    return time.perf_counter() - start


def busy_share(trainer: Trainer, epoch: Epoch) -> float | None:
    """Of the epoch's steps, the share of the time that kernels ran.

    None where the driver does not let a user profile its kernels.
    """
    device = trainer.device.type
    kinds = [ProfilerActivity.CUDA] if device == "cuda" else [ProfilerActivity.CPU]
    try:
        with profile(activities=kinds) as profiler:
            seconds = seconds_of(trainer, epoch)
    except RuntimeError as error:
        if "CUPTI" not in str(error):
            raise
        return None
    kernels = sum(event.self_device_time_total for event in profiler.key_averages())
    return float(kernels) / 1e6 / seconds if kernels or device == "cpu" else None


def again(epoch: Epoch, number: int) -> Epoch:
    """The same epoch with its steps still to come."""
    return Epoch(epoch.config, number, epoch.labels, epoch.objective, epoch.monitor, {})


def throughput(settings: dict[str, Any], images: int, steps: int) -> Iterator[dict[str, Any]]:
    """Images a second of each of SETTINGS, in training."""
    for name, (precision, channels_last, resident) in SETTINGS.items():
        wanted = merge(settings, {"training": {"precision": precision}})
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        with only(channels_last, resident):
            trainer, epoch = prepared("scwm", wanted, images, steps)
            seconds = seconds_of(trainer, epoch)
            fewer = {"iterations": max(1, steps // 3)}  # every event is kept
            epoch.config = trainer.config = changed(trainer.config, {"training": fewer})
            busy = busy_share(trainer, again(epoch, 2))
        batch = wanted["training"]["identities"] * wanted["training"]["instances"]
        yield {
            "backbone": wanted["model"]["backbone"],
            "setting": name,
            "images_per_second": batch * steps / seconds,
            "busy_share": busy,
            "peak_gpu_memory_mib": peak_gpu_memory_mib(),
        }


def first_epoch(settings: dict[str, Any], images: int) -> dict[str, Any]:
    """Seconds by stage of the first epoch, which holds the clustering of pixels; its identities are
    given, so that random images have clusters. Pseudo labels are found for features of the
    benchmarks' own, with the structure of real ones."""
    trainer, _ = prepared("scwm", settings, images, 1)
    ids = np.asarray(inputs.identities(images))
    split = trainer.split
    trainer.split = StoreSplit(split.images, ids, split.cameras, split.paths)
    features = torch.from_numpy(inputs.features(ids)).to(trainer.device)
    wait()
    start = time.perf_counter()
    pseudo_labels(features)
    seconds = {"pseudo_labels": time.perf_counter() - start}
    given = {
        "training": {"iterations": settings["training"]["iterations"]},
        "pseudo_labels": {"source": "truth"},
    }
    trainer.config = changed(trainer.config, given)
    epoch = trainer.start_epoch(0)
    seconds |= {name: epoch.row[f"seconds_{name}"] for name in ("features", "parsing")}
    seconds["steps"] = seconds_of(trainer, epoch)
    other = 1 - seconds["steps"] / sum(seconds.values())
    return {"backbone": settings["model"]["backbone"], **seconds, "share_beside_steps": other}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--backbones", nargs="+", default=["mobilenet_v2", "resnet50"])
    parser.add_argument("--images", type=int, default=12936)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings")
    parser.add_argument("--out", type=Path, default=Path("results/performance"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    base = read_yaml(CONFIG_DIR / "market1501.yaml")["settings"]
    machine = json.dumps(describe_machine(), indent=2, sort_keys=True)
    (options.out / "gpu_machine.json").write_text(machine + "\n")
    rows, epochs = [], []
    for backbone in options.backbones:
        settings = merge(base, {"model": {"backbone": backbone, "weights": "none"}})
        settings = merge(settings, parse_assignments(options.set))
        for row in throughput(settings, options.images, options.steps):
            rows.append(row)
            pd.DataFrame(rows).to_csv(options.out / "gpu.csv", index=False)
        epochs.append(first_epoch(settings, options.images))
        pd.DataFrame(epochs).to_csv(options.out / "gpu_epoch.csv", index=False)
    print(pd.DataFrame(rows).to_string(index=False))
    print(pd.DataFrame(epochs).to_string(index=False))


if __name__ == "__main__":
    main()

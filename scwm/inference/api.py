"""The library: features, part masks and rankings of pedestrian crops from a trained model.

Example::

    from scwm import extract, load_model, rank

    model = load_model("results/runs/mannequins/scwm/seed0")
    features = extract(model, ["a.jpg", "b.jpg", "c.jpg"])
    order, similarity = rank(model, ["query.jpg"], ["a.jpg", "b.jpg", "c.jpg"])
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import torch
from PIL import Image

from scwm.core.device import autocast, default_device, place
from scwm.core.errors import ScwmError
from scwm.core.progress import progress
from scwm.core.settings import Config
from scwm.data.augment import Augment
from scwm.data.images import Source, read_image
from scwm.evaluation.evaluate import load_network, restore_network
from scwm.models import Network
from scwm.models.embedding import Embedding, collect

Images = np.ndarray | Sequence[Source]
SHIPPED = Path(__file__).with_name("scwm_mannequins.safetensors")


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network with the config of its run."""

    network: Network
    config: Config

    def __str__(self) -> str:
        own = self.config
        return f"{own.method} trained on {own.dataset}, seed {own.seed}"


def load_model(path: str | Path = SHIPPED) -> Model:
    """Load a trained model, on a GPU if there is one, without running code from the file.

    Args:
        path: a run's folder or its model.pt, or a .safetensors file of `scwm export`. Default: the
            model that is part of the package, trained on rendered people; its card lies beside it.

    Raises:
        ScwmError: the file does not exist, is not a model of this suite, or belongs to a control
            whose features come from no network.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        network, config = read_safetensors(path)
    else:
        network, config = load_network(path / "model.pt" if path.is_dir() else path)
    if config.kind not in ("trained", "untrained"):
        raise ScwmError(
            f"'{config.method}' is a control without a network.", path, "give a trained model"
        )
    return Model(place(network, default_device()), config)


def is_model(path: Path) -> bool:
    """Say whether a path is a run's folder or a model, by the names of its files or its suffix."""
    run = any((path / name).is_file() for name in ("model.pt", "config.yaml"))
    return run or path.suffix in (".pt", ".pth", ".safetensors")


def extract(model: Model, images: Images, feature: str | None = None) -> np.ndarray:
    """Extract unit features of pedestrian crops.

    Args:
        images: N files, PIL images or RGB arrays of any size, or one (N,H,W,3) uint8 array.
        feature: global | parts | both; default: the run's own, global for a model without parts.

    Returns:
        (N,D) float32; cosine similarity is their inner product.
    """
    name = default_feature(model, feature)
    return stacked(extracted(model, images, name), _count(images))


def parse(model: Model, images: Images) -> np.ndarray:
    """Label the parts of pedestrian crops: (N,h,w) uint8, 0 background, 1..K from top to bottom.

    The arguments are as in `extract`. The grid is the part map, with at least 16×8 cells.

    Raises:
        ScwmError: the model has no parsed parts.
    """
    return stacked(parsed(model, images), _count(images))


def rank(model: Model, queries: Images, gallery: Images) -> tuple[np.ndarray, np.ndarray]:
    """Order the gallery by similarity to each query.

    Returns:
        Indices (Q,G) into the gallery, best first, ties by lower index; similarities (Q,G) in
        that order.
    """
    similarity = extract(model, queries) @ extract(model, gallery).T
    order = np.argsort(-similarity, axis=1, kind="stable")
    return order, np.take_along_axis(similarity, order, axis=1)


def read_crops(images: Images, size: Sequence[int]) -> np.ndarray:
    """Read pedestrian crops as one (N,H,W,3) uint8 array, resized as in a store.

    Args:
        images: as in `extract`.
        size: H and W.

    Raises:
        ScwmError: there are no images, or one cannot be read.
    """
    _count(images)
    return np.stack([_read(image, (size[1], size[0])) for image in images])


def default_feature(model: Model, feature: str | None = None) -> str:
    """Return `feature`, or the run's own if it is None, or global if the model has no parts.

    Raises:
        ScwmError: the model has no such feature.
    """
    known = ("global", "parts", "both") if model.config.model.parts else ("global",)
    wanted = model.config.evaluation.feature
    chosen = feature or (wanted if wanted in known else "global")
    if chosen not in known:
        raise ScwmError(f"This model has no feature '{chosen}'.", remedy=f"use {[*known]}")
    return chosen


def described(
    model: Model, images: Images, unreadable: dict[int, ScwmError] | None = None
) -> Iterator[Embedding]:
    """Yield the network's outputs for the images, one batch at a time.

    The next batch is decoded during the computation.

    Args:
        model: the model.
        images: as in `extract`.
        unreadable: receives the errors of images that cannot be read, by their index; without it
            the first of them is raised.

    Raises:
        ScwmError: there are no images, or one cannot be read.
    """
    count = _count(images)
    height, width = model.config.model.image_size
    device = default_device()
    normalise = Augment().normalise
    model.network.eval()

    def read(row: int) -> np.ndarray | None:
        try:
            return _read(images[row], (width, height))
        except ScwmError as error:
            if unreadable is None:
                raise
            unreadable[row] = error
            return None

    size = model.config.evaluation.batch
    rows = range(count)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = [pool.submit(read, row) for row in rows[:size]]
        for start in progress(range(0, count, size), "crops"):
            now = waiting
            waiting = [pool.submit(read, row) for row in rows[start + size :][:size]]
            pixels = [found for job in now if (found := job.result()) is not None]
            if not pixels:
                continue
            batch = torch.from_numpy(np.stack(pixels)).to(device)
            with torch.inference_mode(), autocast(device, "float32"):
                output = model.network(normalise(batch))
            yield collect([output])


def extracted(
    model: Model, images: Images, feature: str, unreadable: dict[int, ScwmError] | None = None
) -> Iterator[np.ndarray]:
    """Yield a feature of the images, (B,D) float32 for each batch; arguments as in `described`."""
    for embedding in described(model, images, unreadable):
        yield embedding.features()[feature].float().cpu().numpy()


def parsed(
    model: Model, images: Images, unreadable: dict[int, ScwmError] | None = None
) -> Iterator[np.ndarray]:
    """Yield the part labels of the images, (B,h,w) uint8 for each batch; else as `described`.

    Raises:
        ScwmError: the model has no parsed parts.
    """
    if not model.config.model.parts or model.config.model.part_source != "parsed":
        remedy = "give a model of a method that parses parts, such as scwm"
        raise ScwmError("This model has no parsed parts.", model.config.method, remedy)
    for embedding in described(model, images, unreadable):
        assert embedding.part_labels is not None
        yield embedding.part_labels.cpu().numpy()


def stacked(batches: Iterable[np.ndarray], most: int) -> np.ndarray:
    """Join batches (B,…) of at most `most` rows in total to one (N,…) without a second copy."""
    rows, filled = np.empty(0), 0
    for batch in batches:
        if not filled:
            rows = np.empty((most, *batch.shape[1:]), batch.dtype)
        rows[filled : filled + len(batch)] = batch
        filled += len(batch)
    return rows[:filled]


def read_safetensors(path: Path) -> tuple[Network, Config]:
    """Read the network and config of a file of `export`.

    Raises:
        ScwmError: the file is not such a file.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            values = json.loads(file.metadata()["config"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return restore_network(values, state)
    except FileNotFoundError as error:
        raise ScwmError("There is no such file.", path, "check the path") from error
    except ScwmError as error:
        raise ScwmError(error.what, error.where or path, error.remedy) from error
    except Exception as error:
        remedy = "give a file that `scwm export` wrote"
        raise ScwmError(f"Not a model of this suite: {error}", path, remedy) from error


def _count(images: Images) -> int:
    """Count the images.

    Raises:
        ScwmError: there are none, or one was given without a list around it.
    """
    if isinstance(images, str | Path | Image.Image):
        raise ScwmError("One image was given instead of a list.", images, "write [image]")
    if not len(images):
        raise ScwmError("No images were given.")
    return len(images)


def _read(image: Source, size: tuple[int, int]) -> np.ndarray:
    """Read one crop as (H,W,3) uint8; `size` is width and height."""
    return np.asarray(read_image(image).resize(size, Image.Resampling.BICUBIC))

"""The library: features, part masks and rankings of pedestrian crops from a trained model.

Example::

    from scwm import load_model, rank

    model = load_model("results/runs/mannequins/scwm/seed0/model.pt")
    order, similarity = rank(model, ["query.jpg"], ["a.jpg", "b.jpg", "c.jpg"])
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from scwm.config import Config
from scwm.errors import ScwmError
from scwm.inference import Embedding, ImageBatches, default_device, embed, place
from scwm.models import Network
from scwm.scoring import load_network

Images = np.ndarray | Sequence[str | Path | Image.Image | np.ndarray]


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network with the config of its run."""

    network: Network
    config: Config


def load_model(path: str | Path) -> Model:
    """The model in a run's model.pt, on the GPU where there is one; runs no code from the file.

    Raises:
        ScwmError: no such file, or not a model of this suite.
    """
    network, config = load_network(Path(path))
    return Model(place(network, default_device()), config)


def extract(model: Model, images: Images, feature: str | None = None) -> np.ndarray:
    """Unit features of pedestrian crops.

    Args:
        images: N files, PIL images or RGB arrays of any size, or one (N,H,W,3) uint8 array.
        feature: global | parts | both; default the run's own, global for a model without parts.

    Returns:
        (N,D) float32; cosine similarity is their inner product.
    """
    features = _embed(model, images).features()
    wanted = model.config["evaluation"]["feature"]
    chosen = feature or (wanted if wanted in features else "global")
    if chosen not in features:
        raise ScwmError(f"This model has no feature '{chosen}'.", remedy=f"use {[*features]}")
    return features[chosen].float().cpu().numpy()


def parse(model: Model, images: Images) -> np.ndarray:
    """Part labels of pedestrian crops: (N,h,w) uint8, 0 background, 1..K from top to bottom.

    Arguments as for `extract`. The grid is the part map's, at least 16×8 cells.

    Raises:
        ScwmError: the model has no parsed parts.
    """
    labels = _embed(model, images).part_labels
    if labels is None or model.config["model"]["part_source"] != "parsed":
        raise ScwmError("This model has no parsed parts.", model.config["method"])
    return labels.cpu().numpy()


def rank(model: Model, queries: Images, gallery: Images) -> tuple[np.ndarray, np.ndarray]:
    """The gallery in order of similarity to each query.

    Returns:
        indices (Q,G) into the gallery, best first, ties by lower index; similarities (Q,G) in
        that order.
    """
    similarity = extract(model, queries) @ extract(model, gallery).T
    order = np.argsort(-similarity, axis=1, kind="stable")
    return order, np.take_along_axis(similarity, order, axis=1)


def read_crops(images: Images, size: Sequence[int]) -> np.ndarray:
    """Pedestrian crops as one (N,H,W,3) uint8 array, resized as the store does it.

    Args:
        images: as for `extract`.
        size: H and W.

    Raises:
        ScwmError: no images, or one that cannot be read.
    """
    if not len(images):
        raise ScwmError("No images were given.")
    return np.stack([_read(image, (size[1], size[0])) for image in images])


def _embed(model: Model, images: Images) -> Embedding:
    pixels = read_crops(images, model.config["model"]["image_size"])
    batches = ImageBatches(pixels, default_device())
    precision = model.config["training"]["precision"]
    return embed(model.network, batches, model.config["evaluation"]["batch"], precision)


def _read(image: str | Path | Image.Image | np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """One crop as (H,W,3) uint8; `size` is width and height."""
    try:
        if isinstance(image, str | Path):
            image = Image.open(image)
        elif isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC))
    except (OSError, TypeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        name = image if isinstance(image, str | Path) else f"a {type(image).__name__}"
        raise ScwmError(f"Cannot read an image: {error}", name, "give another file") from error

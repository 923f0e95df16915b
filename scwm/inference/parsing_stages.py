"""Every stage of the parsing of single images at one model's features, for figures.

Stages are arrays of N images by name, in the order of the parsing: "image" (N,H,W,3) uint8, and on
the part map's cells (N,h,w) the activation, float in [0,1], foregrounds, bool, and parts, integers
with 0 = background.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scwm.core.errors import ScwmError
from scwm.core.progress import progress
from scwm.core.seeding import derived_seed, numpy_generator
from scwm.core.settings import Config
from scwm.data.store import ImageStore, StoreSplit
from scwm.evaluation import to_grid
from scwm.evaluation.evaluate import load_network
from scwm.evaluation.study import corrections, embed_parsed
from scwm.inference.api import load_model, read_crops
from scwm.inference.features import find_crops
from scwm.method.labelling import label_images
from scwm.method.parsing import activation, cascaded_clustering
from scwm.models.embedding import Embedding

MOST = 100  # images of one picture
Stages = dict[str, np.ndarray]


def store_stages(
    run: Path, store: ImageStore, count: int = 10, seed: int = 0
) -> tuple[list[str], Stages]:
    """Compute file names and stages of training images of `count` pseudo identities.

    All training images are embedded, grouped by the model's own pseudo labels and parsed together.

    Args:
        run: folder with model.pt of a model with parsed parts.
        store: the store of its data set.
        count: number of images, one of each pseudo identity; limited to their number.
        seed: seed of the draw of these images.

    Raises:
        ScwmError: the model is missing, the count is not in 1..`MOST`, or the seed is negative.
    """
    if not 1 <= count <= MOST or seed < 0:
        raise ScwmError(
            f"{count} images, seed {seed}", remedy=f"give 1 to {MOST} images and a seed from 0"
        )
    split = store.split("train")
    config, embedding = embed_parsed(*load_network(run / "model.pt"), split, run)
    labels = label_images(config, embedding, split.ids)
    rows = one_of_each(labels.cpu().numpy(), count, seed)
    names = [Path(split.paths[row]).name for row in rows]
    return names, parsing_stages(config, split, embedding, labels, rows)


def crop_stages(run: Path, paths: Sequence[Path]) -> tuple[list[str], Stages]:
    """Compute file names and stages of the user's own crops, parsed as one pseudo identity.

    Both steps of the clustering learn only from these crops, which show less than a data set.

    Args:
        run: a model with parsed parts, as `load_model` takes it.
        paths: image files, and folders of images with their subfolders.

    Raises:
        ScwmError: the model or a file is missing, or there are no images or more than `MOST`.
    """
    files = find_crops(paths)
    if len(files) > MOST:
        raise ScwmError(f"{len(files)} images: one picture shows at most {MOST}.")
    model = load_model(run)
    crops = read_crops(files, model.config.model.image_size)
    unknown, names = np.zeros(len(files), dtype=np.int64), [file.name for file in files]
    split = StoreSplit(crops, unknown, unknown, names)
    config, embedding = embed_parsed(model.network, model.config, split, run)
    group = torch.zeros(len(files), dtype=torch.long, device=embedding.global_feature.device)
    return names, parsing_stages(config, split, embedding, group, np.arange(len(files)))


def parsing_stages(
    config: Config, split: StoreSplit, embedding: Embedding, labels: Tensor, rows: np.ndarray
) -> Stages:
    """Compute the stages of the images `rows` of a split, while all images are clustered.

    Args:
        config: config of the model.
        split: the N images.
        embedding: features of the split, with pixel features.
        labels: (N,) pseudo identities, -1 = none.
        rows: the images to return.
    """
    pixels, masks = embedding.pixels, embedding.part_labels
    assert pixels is not None and masks is not None
    index = torch.from_numpy(rows).to(labels.device)
    seed = derived_seed(config.seed, "clustering", 0)
    settings = corrections(config)
    isp, corrected = (
        cascaded_clustering(pixels, labels, config.model.parts, *settings[name], seed)[index]
        for name in progress(("isp", "both"), "parsing")
    )
    shown = {
        "activation": activation(pixels[index]),
        "ISP foreground": isp > 0,  # every foreground cell gets a part
        "corrected foreground": corrected > 0,
        "ISP parts": isp,
        "corrected parts": corrected,
        "classifier's parts": masks[index],
    }
    stages = {"image": split.images[rows]}
    stages |= {name: cells.cpu().numpy() for name, cells in shown.items()}
    if split.masks is not None:
        stages["truth"] = to_grid(split.masks[rows], *masks.shape[1:])
    return stages


def one_of_each(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw one image each of `count` random pseudo identities; the rows are in order.

    Args:
        labels: (N,) pseudo identities; -1 is not drawn.
        count: number of pseudo identities.
        seed: seed of the draw.
    """
    draws = numpy_generator(seed, "parse")
    drawn = draws.permutation(np.unique(labels[labels >= 0]))[:count]
    return np.sort([draws.choice(np.flatnonzero(labels == identity)) for identity in drawn])

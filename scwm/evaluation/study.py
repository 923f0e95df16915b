"""A study of one model: both corrections and all memory strategies at the same features.

Runs of different methods differ in every effect of a change on training. The study computes parsing
and memory weights in every variant at the fixed features of one model.
"""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scwm.core.config import changed
from scwm.core.device import default_device, place, resolve_precision
from scwm.core.errors import ScwmError
from scwm.core.files import write_json
from scwm.core.measures import keys_at
from scwm.core.plugins import FOREGROUND_CORRECTIONS, STRATEGIES
from scwm.core.progress import progress
from scwm.core.seeding import derived_seed, numpy_generator
from scwm.core.settings import Config
from scwm.data.entries import is_development
from scwm.data.keypoints import JOINTS, read_keypoints
from scwm.data.labels import labelled
from scwm.data.sampler import identity_batches
from scwm.data.store import ImageStore, StoreSplit
from scwm.evaluation import (
    cut_or_shifted,
    evaluate_ranking,
    joint_scores,
    label_scores,
    misplaced_share,
    parsing_scores,
    to_grid,
)
from scwm.evaluation.evaluate import load_network
from scwm.evaluation.monitor import StepMonitor
from scwm.method.labelling import label_images
from scwm.method.objective import Objective
from scwm.method.parsing import activation, cascaded_clustering, middle
from scwm.method.parsing.pixels import Pixels
from scwm.models import Network, Output
from scwm.models.embedding import Embedding, ImageBatches, embed
from scwm.models.part_head import pool_parts

SCORES = keys_at("study:parsing.")
TEMPERED = ("hard_mining", "noise_suppression")
TAUS = (0.02, 0.05, 0.1, 0.3, 1.0)
WEIGHT_SCORES = keys_at("study:memory.")
BATCHES = 100


def study(run: Path, store: ImageStore, keypoints: Path | None = None) -> dict[str, Any]:
    """Write `run`/study.json and return its content (see docs/method.md, §8).

    Args:
        run: folder with model.pt of a model with parsed parts.
        store: the study parses its training images; only the scores use true identities and masks.
        keypoints: joints of the training images, see `read_keypoints`.

    Raises:
        ScwmError: the model is missing, or the key points belong to other images.
    """
    split = store.split("train")
    points = None if keypoints is None else read_keypoints(keypoints, keypoint_rows(store))
    config, embedding = embed_parsed(*load_network(run / "model.pt"), split, run)
    labels = label_images(config, embedding, split.ids)
    found = {
        "dataset": config.dataset,
        "method": config.method,
        "seed": config.seed,
        "precision": config.evaluation.precision,
        "pseudo_labels": label_scores(labels, split.ids),
        "parsing": study_parsing(config, embedding, labels, split, points),
        "memory": study_memory(config, embedding, labels, split),
    }
    write_json(found, run / "study.json")
    return found


def keypoint_rows(store: ImageStore) -> np.ndarray:
    """Find the training images (N,) among all images of their folder, in the order of the names.

    A data set of the first identities of a folder has its first images. Development data take all
    their splits from the folder of training images.
    """
    splits = store.info["counts"] if is_development(store.info["dataset"]) else ["train"]
    names = sorted(path for name in splits for path in store.split(name).paths)
    rows: np.ndarray = np.searchsorted(names, store.split("train").paths)
    return rows


def embed_parsed(
    network: Network, config: Config, split: StoreSplit, where: Path
) -> tuple[Config, Embedding]:
    """Embed `split` with pixel features; also returns the config with the precision of the device.

    Raises:
        ScwmError: the model, which is of the run or file `where`, has no parsed parts.
    """
    device = default_device()
    config = resolve_precision(config, device, "evaluation")
    if not (config.model.parts and config.model.part_source == "parsed"):
        raise ScwmError("The model parses no parts.", where, "use a model of `scwm`")
    images = ImageBatches(split.images, device)
    precision, batch = config.evaluation.precision, config.evaluation.batch
    return config, embed(place(network, device), images, batch, precision, pixels=True)


def corrections(config: Config) -> dict[str, tuple[bool | str, bool | str]]:
    """List the foreground and the space correction of the four settings: none, one or both.

    The corrections are the config's, or the suite's own if the config names none.
    """
    foreground = config.parsing.foreground_correction or True
    space = config.parsing.space_correction or True
    return {
        "isp": (False, False),
        "foreground": (foreground, False),
        "space": (False, space),
        "both": (foreground, space),
    }


def parse_in_settings(config: Config, maps: Tensor, groups: Tensor) -> dict[str, Tensor]:
    """Compute part labels (N,h,w) with and without each correction, and of their fair rivals.

    `bands` are equal bands of the corrected foreground. `rectangle` is the same middle of the box
    in every image, without parts. `from_rectangle` is the foreground correction of that rectangle
    instead of ISP's foreground, without parts.

    Args:
        config: config of the run.
        maps: (N,C,h,w) pixel features.
        groups: (N,) pseudo identities.
    """
    seed, parts = derived_seed(config.seed, "clustering", 0), config.model.parts
    settings = corrections(config)
    foreground, _ = settings["foreground"]
    settings["bands"] = (foreground, "bands")
    found = {
        name: cascaded_clustering(maps, groups, parts, *own, seed)
        for name, own in progress(settings.items(), "parsing", len(settings))
    }
    rectangle = middle(torch.zeros_like(found["isp"][0])).expand(found["isp"].shape)
    correct = FOREGROUND_CORRECTIONS.load(foreground).correct_foreground
    corrected = correct(Pixels(maps), rectangle)
    return found | {"rectangle": rectangle.byte(), "from_rectangle": corrected.byte()}


def study_parsing(
    config: Config,
    embedding: Embedding,
    labels: Tensor,
    split: StoreSplit,
    points: np.ndarray | None,
) -> dict[str, dict[str, float | None]]:
    """Compute `SCORES` of the part labels of `parse_in_settings`.

    A score is None without masks, without such boxes or without key points. With true masks there
    are two more groups. `same_share_…` scores ISP's activation at the same foreground share: each
    pseudo identity has as many cells of the highest activation as the setting's foreground. `cut_…`
    scores only boxes that cut the person or hold it off centre. The mAP belongs to pixel features
    pooled under the labels, by `pooled_features`; it also covers horizontal stripes and true masks.

    Args:
        labels: (N,) pseudo identities of the split's images, -1 = unclustered.
        points: (N,J,2), as in `read_keypoints`.
    """
    pixels = embedding.pixels
    assert pixels is not None
    kept = labels >= 0
    maps, groups, rows = pixels[kept], labels[kept], kept.cpu().numpy()
    order = activation(maps)
    names = np.unique(JOINTS, return_inverse=True)[1]
    truth = cut = None
    if split.masks is not None:
        cut = cut_or_shifted(split.masks[rows])
        truth = to_grid(split.masks[rows], *maps.shape[2:])
    found: dict[str, dict[str, float | None]] = {}
    for name, cells in parse_in_settings(config, maps, groups).items():
        predicted = cells.cpu().numpy()
        scores: dict[str, float | None] = dict.fromkeys(SCORES)
        scores["foreground_share"] = float((predicted > 0).mean())
        if truth is not None and cut is not None:
            rival = highest(order, groups, cells > 0).cpu().numpy()
            scores |= parsing_scores(predicted, truth)
            scores["misplaced_share"] = misplaced_share(predicted, truth)
            scores["same_share_foreground_iou"] = parsing_scores(rival, truth)["foreground_iou"]
            if cut.any():
                inside = parsing_scores(predicted[cut], truth[cut])
                scores |= {f"cut_{key}": value for key, value in inside.items()}
                inside = parsing_scores(rival[cut], truth[cut])
                scores["same_share_cut_foreground_iou"] = inside["foreground_iou"]
        if points is not None:
            scores |= joint_scores(predicted, points[rows], names)
        found[name] = scores | {"mAP": pooled_map(maps, cells, split, rows)}
    height = maps.shape[2]
    stripes = torch.arange(height) * config.model.parts // height + 1
    fixed = {"stripes": stripes[:, None].expand_as(cells)}
    if truth is not None:
        fixed["truth"] = torch.from_numpy(truth)
    for name, cells in fixed.items():
        found[name] = {"mAP": pooled_map(maps, cells.to(maps.device), split, rows)}
    return found


def pooled_map(maps: Tensor, cells: Tensor, split: StoreSplit, rows: np.ndarray) -> float | None:
    """Compute the mAP of pixel features pooled under part labels.

    Every image is searched among all images of other cameras.

    Args:
        maps: (N,C,h,w); cells: (N,h,w); rows: rows of the N images in the split.

    Returns:
        None if no identity has images of two cameras, or none is known.
    """
    ids, cameras = split.ids[rows], split.cameras[rows]
    alone = len(np.unique(ids)) == len(np.unique(np.stack([ids, cameras]), axis=1).T)
    if alone or not labelled(ids):
        return None
    side = pooled_features(maps.float(), cells), ids, cameras
    return evaluate_ranking(*side, *side)["mAP"]


def pooled_features(maps: Tensor, cells: Tensor) -> Tensor:
    """Concatenate the mean pixel features of all parts, each standardised over its images.

    Args:
        maps: (N,C,h,w).
        cells: (N,h,w) integers, 0 = background.

    Returns:
        (N,K·C), L2-normalised; zeros replace parts that an image lacks.
    """
    masks = F.one_hot(cells.long()).permute(0, 3, 1, 2)[:, 1:].to(maps)
    seen = (masks.sum((2, 3)) > 0).to(maps)[:, :, None]
    pooled, count = pool_parts(maps, masks), seen.sum(0).clamp(min=1)
    centred = (pooled - (seen * pooled).sum(0) / count) * seen
    spread = (centred**2).sum(0).div(count).sqrt().clamp(min=1e-6)
    return F.normalize(F.normalize(centred / spread, dim=2).flatten(1), dim=1)


def highest(values: Tensor, groups: Tensor, foreground: Tensor) -> Tensor:
    """Mark as many cells of the highest values as `foreground` has in each group.

    Args:
        values: (N,h,w); groups: (N,) integers 0..G-1; foreground: (N,h,w) bool.

    Returns:
        (N,h,w) bool.
    """
    owner = groups[:, None, None].expand_as(foreground).flatten()
    order = torch.argsort(values.flatten(), descending=True, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]
    size = torch.bincount(owner)
    wanted = torch.bincount(owner[foreground.flatten()], minlength=len(size))
    start = torch.cumsum(size, 0) - size
    rank = torch.arange(len(owner), device=owner.device) - start[owner[order]]
    chosen = torch.zeros_like(foreground).flatten()
    chosen[order] = rank < wanted[owner[order]]
    return chosen.view_as(foreground)


def study_memory(
    config: Config, embedding: Embedding, labels: Tensor, split: StoreSplit
) -> dict[str, Any]:
    """Score every strategy's weights with the measures of `StepMonitor`.

    The temperatures are the run's own and a sweep. Batches are drawn as in training. The features
    come from whole images, the prototypes from the start of an epoch.

    Args:
        labels: (N,) pseudo identities of the split's images, -1 = unclustered.
    """
    settings = config.training
    draws = numpy_generator(config.seed, "study")
    batches = [
        torch.as_tensor(rows).to(labels.device)
        for rows in identity_batches(
            labels.cpu().numpy(), settings.identities, settings.instances, BATCHES, draws
        )
    ]
    whole, parts, seen = embedding.global_feature, embedding.part_features, embedding.visibility
    assert parts is not None and seen is not None

    def score(strategy: str, tau: float | None = None) -> dict[str, float | None]:
        memory: dict[str, Any] = {"global_strategy": strategy, "part_strategy": strategy}
        if tau is not None:
            memory |= {"global_tau": tau, "part_tau": tau}
        objective = Objective.of(changed(config, {"memory": memory}), embedding, labels)
        monitor = StepMonitor.of(objective, embedding, labels, split)
        for rows in batches:
            monitor.add(Output(whole[rows], parts[rows], seen[rows]), rows)
        found = monitor.read()
        return {key: found.get(key) for key in WEIGHT_SCORES}

    return {
        "strategies": {strategy: score(strategy) for strategy in STRATEGIES.names()},
        "sweep": [
            {"strategy": strategy, "tau": tau, **score(strategy, tau)}
            for strategy, tau in progress(list(product(TEMPERED, TAUS)), "memory weights")
        ],
    }

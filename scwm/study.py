"""A study of one model: both corrections and all memory strategies at the same features.

Runs of different methods differ in all that training makes of a change. Here the features of one
model stand still, and parsing and memory weights are computed in every variant.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scwm.config import Config
from scwm.data.keypoints import JOINTS, read_keypoints
from scwm.data.sampler import identity_batches
from scwm.data.store import ImageStore, StoreSplit
from scwm.errors import ScwmError
from scwm.evaluation import (
    cut_or_shifted,
    joint_scores,
    label_scores,
    misplaced_share,
    mostly_hidden,
    parsing_scores,
    to_grid,
    weight_scores,
    wrong_members,
)
from scwm.inference import Embedding, embed
from scwm.memory import STRATEGIES, WeightedMemory, cluster_means
from scwm.parsing import activation, cascaded_clustering
from scwm.progress import progress
from scwm.scoring import load_network, write_json
from scwm.seeding import derived_seed, numpy_generator
from scwm.training import Trainer

SETTINGS = {
    "isp": (False, False),
    "foreground": (True, False),
    "space": (False, True),
    "both": (True, True),
}
SCORES = (
    *("foreground_share", "foreground_iou", "part_miou", "misplaced_share"),
    *("cut_foreground_iou", "cut_part_miou"),
    *("same_share_foreground_iou", "same_share_cut_foreground_iou"),
    *("joints_in_foreground", "border_in_foreground", "joints_minus_border", "joint_part_nmi"),
)
TEMPERED = ("hard_mining", "noise_suppression")
TAUS = (0.03, 0.1, 0.3, 1.0)
BATCHES = 100


def study(run: Path, store: ImageStore, keypoints: Path | None = None) -> dict[str, Any]:
    """Write `run`/study.json and return its content (see docs/method.md, §8).

    Args:
        run: folder with model.pt, of a model with parsed parts.
        store: its training images are parsed; true identities and masks are read for scores only.
        keypoints: joints of the training images, see `read_keypoints`.

    Raises:
        ScwmError: no such model, or key points of other images.
    """
    network, config = load_network(run / "model.pt")
    split = store.split("train")
    points = None if keypoints is None else read_keypoints(keypoints, len(split))
    trainer = Trainer(config, network, split)
    if not trainer.parsed:
        raise ScwmError(f"The model of {config['method']} parses no parts.", run, "study `scwm`")
    evaluation, training = config["evaluation"], config["training"]
    embedding = embed(network, trainer.images, evaluation["batch"], training["precision"], True)
    labels = trainer.label_images(embedding)
    found = {
        **{key: config[key] for key in ("dataset", "method", "seed")},
        "pseudo_labels": label_scores(labels, split.ids),
        "parsing": study_parsing(config, embedding, labels, split, points),
        "memory": study_memory(config, embedding, labels, split),
    }
    write_json(found, run / "study.json")
    return found


def study_parsing(
    config: Config,
    embedding: Embedding,
    labels: Tensor,
    split: StoreSplit,
    points: np.ndarray | None,
) -> dict[str, dict[str, float | None]]:
    """`SCORES` of the cascaded clustering's labels with and without each correction; None where
    there are no masks, no such boxes or no key points.

    With true masks also of ISP's activation at the same foreground share (`same_share_…`): in
    each pseudo identity as many cells of the highest activation as the setting's own foreground
    has there; and of the boxes alone that cut the person or have it off the middle (`cut_…`).
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
    for name, corrections in progress(SETTINGS.items(), "parsing", len(SETTINGS)):
        seed = derived_seed(config["seed"], "clustering", 0)
        cells = cascaded_clustering(maps, groups, config["model"]["parts"], *corrections, seed)
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
        found[name] = scores
    return found


def highest(values: Tensor, groups: Tensor, foreground: Tensor) -> Tensor:
    """As many cells as `foreground` has in each group, those of the highest values.

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
    """`weight_scores` of every strategy: at the run's own temperature, and over a sweep.

    Batches are drawn as in training; the features are those of whole images, the prototypes the
    clusters' means.
    """
    settings, own = config["training"], config["memory"]
    draws = numpy_generator(config["seed"], "study")
    sampled = identity_batches(
        labels.cpu().numpy(), settings["identities"], settings["instances"], BATCHES, draws
    )
    batches = np.stack(list(sampled))
    features, seen = embedding.part_features, embedding.visibility
    assert features is not None and seen is not None
    parts = [(features[:, k], seen[:, k]) for k in range(features.shape[1])]
    found: dict[str, Any] = {}
    for kind, memories in (("global", [(embedding.global_feature, None)]), ("part", parts)):
        score = WeightStudy(memories, labels, batches, split).score
        found[kind] = {strategy: score(strategy, own[f"{kind}_tau"]) for strategy in STRATEGIES}
        found[f"{kind}_sweep"] = [
            {"strategy": strategy, "tau": tau, **score(strategy, tau)}
            for strategy, tau in progress(list(product(TEMPERED, TAUS)), f"{kind} memory")
        ]
    return found


class WeightStudy:
    """Weights of the same samples by any strategy.

    Args:
        memories: features (N,D) and visibility (N,) or None, for each memory.
        labels: (N,) pseudo identities.
        batches: (T,B) rows of the N images.
        split: the images, with true identities and perhaps masks.
    """

    def __init__(
        self,
        memories: Sequence[tuple[Tensor, Tensor | None]],
        labels: Tensor,
        batches: np.ndarray,
        split: StoreSplit,
    ) -> None:
        self.memories, self.labels = memories, labels
        self.means = [cluster_means(f, labels, s) for f, s in memories]
        self.rows = torch.as_tensor(batches).to(labels.device)
        clusters = labels.cpu().numpy()
        truth = np.unique(split.ids, return_inverse=True)[1]
        identity = torch.as_tensor(truth).to(labels.device)
        difficulty = [1 - (f * cluster_means(f, identity, s)[identity]).sum(1) for f, s in memories]
        self.difficulty = torch.stack(difficulty).cpu().numpy()[:, batches]
        self.wrong = wrong_members(clusters, truth)[batches]
        self.hidden = None if split.masks is None else mostly_hidden(split.masks)[batches]
        memory, batch, _ = np.ogrid[: len(memories), : len(batches), :1]
        self.groups = (memory * len(batches) + batch) * (clusters.max() + 1) + clusters[batches]

    def score(self, strategy: str, tau: float) -> dict[str, float | None]:
        """The strategy's `weight_scores`, all memories together."""
        weights = []
        for (features, seen), means in zip(self.memories, self.means, strict=True):
            memory = WeightedMemory(means, strategy=strategy, tau=tau)
            for rows in self.rows:
                visible = None if seen is None else seen[rows]
                weights.append(memory.weights(features[rows], self.labels[rows], visible))
        found = torch.stack(weights).double().cpu().numpy().reshape(self.groups.shape)
        return weight_scores(found, self.groups, self.wrong, self.difficulty, self.hidden)

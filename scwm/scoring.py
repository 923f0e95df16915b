"""The scores of one run: features of query and gallery, metrics, and examples for pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scwm.config import Config
from scwm.controls import colour_histogram, random_features
from scwm.data.store import ImageStore, StoreSplit
from scwm.errors import ScwmError
from scwm.evaluation import (
    effective_parts,
    evaluate_ranking,
    misplaced_share,
    parsing_scores,
    part_similarity,
    ranked_lists,
    to_grid,
)
from scwm.inference import Embedding, ImageBatches, default_device, embed, place
from scwm.models import Network

EXAMPLE_QUERIES, EXAMPLE_MASKS = 8, 12
LABEL_SCORES = ("clusters", "unclustered_share", "ari", "nmi")


def load_network(path: Path) -> tuple[Network, Config]:
    """The network and config in a run's model.pt; no code in the file is run."""
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
        network = Network(payload["config"])
        network.load_state_dict(payload["model"])
    except FileNotFoundError as error:
        raise ScwmError("There is no model here.", path, "train the run first") from error
    except Exception as error:
        remedy = "give the model.pt that `scwm train` wrote, or train the run again"
        raise ScwmError(f"Not a model of this suite: {error}", path, remedy) from error
    return network, payload["config"]


def evaluate(run: Path, store: ImageStore) -> None:
    """Score the model in `run` and write its metrics.json and visuals.npz."""
    network, config = load_network(run / "model.pt")
    query, gallery = store.split("query"), store.split("gallery")
    embeddings = [
        describe(config, network, split, name)
        for name, split in (("query", query), ("gallery", gallery))
    ]
    features = [e.features() for e in embeddings]
    sides = [(s.ids, s.cameras) for s in (query, gallery)]
    ranking = {
        name: evaluate_ranking(features[0][name], *sides[0], features[1][name], *sides[1])
        for name in features[0]
    }
    wanted = config["evaluation"]["feature"]
    default = wanted if wanted in ranking else "global"
    metrics = {
        **{key: config[key] for key in ("dataset", "method", "seed")},
        "default_feature": default,
        "features": ranking,
        **ranking[default],
        "parsing": score_masks(config, embeddings, [query, gallery]),
        "parts": score_parts(embeddings[1]),
        "pseudo_labels": last_labels(run / "history.csv"),
        "label_note": describe_protocol(config, store.info["note"]),
    }
    write_json(metrics, run / "metrics.json")
    visuals: dict[str, Any] = rank_examples(
        query, gallery, features[0][default], features[1][default]
    )
    visuals |= mask_examples(gallery, embeddings[1])
    np.savez_compressed(run / "visuals.npz", **visuals)


def describe_protocol(config: Config, note: str) -> str:
    """What sets the run's data and use of labels apart from the standard protocol."""
    cameras = config["training"]["sampler"] == "identities_and_cameras"
    return "; ".join(filter(None, [note, "camera labels used in training" if cameras else ""]))


def describe(config: Config, network: Network, split: StoreSplit, name: str) -> Embedding:
    """Features of one split by the run's kind: a network's, or a control's."""
    if config["kind"] == "random_features":
        return Embedding(random_features(len(split), config["seed"], name))
    if config["kind"] == "colour_histogram":
        return Embedding(colour_histogram(split.images))
    device = default_device()
    settings = config["evaluation"]
    precision = config["training"]["precision"]
    images = ImageBatches(split.images, device)
    return embed(
        place(network, device), images, settings["batch"], precision, title=f"features of {name}"
    )


def score_masks(
    config: Config, embeddings: list[Embedding], splits: list[StoreSplit]
) -> dict[str, float] | None:
    """Parsing scores over query and gallery; None without parsed parts or without true masks."""
    labels = [e.part_labels for e in embeddings]
    if config["model"]["part_source"] != "parsed" or labels[0] is None or labels[1] is None:
        return None
    if splits[0].masks is None or splits[1].masks is None:
        return None
    predicted = torch.cat([labels[0], labels[1]])
    truth = np.concatenate([splits[0].masks, splits[1].masks])
    truth = to_grid(truth, *predicted.shape[1:])
    misplaced = misplaced_share(predicted, truth)
    return {**parsing_scores(predicted, truth), "misplaced_share": misplaced}


def score_parts(embedding: Embedding) -> dict[str, float] | None:
    """Use and likeness of the parts over the gallery; None without parts."""
    features, seen = embedding.part_features, embedding.visibility
    if features is None or seen is None:
        return None
    similar, pairs = part_similarity(features, seen)
    return {
        "effective_parts": effective_parts(seen),
        "part_similarity": float(similar / pairs.clamp(min=1)),
    }


def last_labels(history: Path) -> dict[str, int | float] | None:
    """Pseudo-label scores of the last epoch, None for a run that was not trained."""
    table = pd.read_csv(history)
    if table.empty:
        return None
    return {name: table[name].iloc[-1].item() for name in LABEL_SCORES}


def rank_examples(
    query: StoreSplit, gallery: StoreSplit, query_features: Tensor, gallery_features: Tensor
) -> dict[str, np.ndarray]:
    """Rank lists of queries spread evenly over the query split."""
    rows = np.unique(np.linspace(0, len(query) - 1, EXAMPLE_QUERIES).astype(int))
    index, score, correct = ranked_lists(
        query_features[torch.from_numpy(rows).to(query_features.device)],
        query.ids[rows],
        query.cameras[rows],
        gallery_features,
        gallery.ids,
        gallery.cameras,
        top=10,
    )
    return {
        "rank_query": np.array(query.images[rows]),
        "rank_gallery": np.where((index >= 0)[..., None, None, None], gallery.images[index], 0),
        "rank_correct": correct,
        "rank_score": np.asarray(score, dtype=np.float32),
    }


def mask_examples(split: StoreSplit, embedding: Embedding) -> dict[str, np.ndarray]:
    """Images with predicted part labels and true masks, spread evenly over the split."""
    rows = np.unique(np.linspace(0, len(split) - 1, EXAMPLE_MASKS).astype(int))
    examples = {"mask_images": np.array(split.images[rows])}
    if embedding.part_labels is not None:
        examples["mask_parts"] = embedding.part_labels.cpu().numpy()[rows]
    if split.masks is not None:
        examples["mask_truth"] = np.array(split.masks[rows])
    return examples


def write_json(content: dict[str, Any], path: Path) -> None:
    """JSON whose bytes depend on the content alone: sorted keys, floats to 6 decimals."""
    path.write_text(json.dumps(_rounded(content), indent=2, sort_keys=True) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 6) if isinstance(value, float) else value

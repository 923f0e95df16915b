"""The scores of one run: features of query and gallery, metrics, and examples for figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scwm.core.config import complete, plain, uses_cameras
from scwm.core.device import default_device, place, resolve_precision
from scwm.core.errors import ScwmError
from scwm.core.files import read_csv, whole_file, write_json
from scwm.core.measures import keys_at
from scwm.core.settings import Config
from scwm.data.store import ImageStore, StoreSplit
from scwm.evaluation import (
    effective_parts,
    mean_scores,
    misplaced_share,
    parsing_scores,
    part_similarity,
    query_scores,
    to_grid,
)
from scwm.evaluation.controls import colour_histogram, random_features
from scwm.evaluation.examples import mask_examples, rank_examples
from scwm.evaluation.sides import Side, write_features, write_query_scores
from scwm.models import Network
from scwm.models.embedding import Embedding, ImageBatches, embed
from scwm.models.weights import reason

SCORER = "evaluation/evaluate.py"


def restore_network(values: Mapping[str, Any], state: dict[str, Tensor]) -> tuple[Network, Config]:
    """Build the network of a run's config, load trained weights, and return both.

    Args:
        values: the config's values as they are stored.
        state: the network's weights.

    Raises:
        ScwmError: a setting is not valid, or a weight is infinite or not a number.
    """
    config = complete(values)
    network = Network(config)
    network.load_state_dict(state)
    network.check_finite("The training diverged")
    return network, config


def load_network(path: Path) -> tuple[Network, Config]:
    """Load the network and config of a run's model.pt, without running code from the file.

    Raises:
        ScwmError: the file does not exist, or is not a model of this suite.
    """
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
        return restore_network(payload["config"], payload["model"])
    except FileNotFoundError as error:
        raise ScwmError("There is no model here.", path, "train the run first") from error
    except ScwmError as error:
        raise ScwmError(error.what, error.where or path, error.remedy) from error
    except Exception as error:
        remedy = "give the model.pt that `scwm train` wrote, or train the run again"
        raise ScwmError(f"Not a model of this suite{reason(error)}", path, remedy) from error


def evaluate(run: Path, store: ImageStore, rerank: bool = False) -> None:
    """Score the model in `run` and write metrics.json and three files of arrays.

    features.npz holds the features, queries.npz the scores of each query, and visuals.npz examples
    for figures.

    With `rerank` metrics.json also holds the scores of the re-ranked gallery.
    """
    network, config, sides = embed_sides(run, store)
    query, gallery = (store.split(name) for name in sides)
    embeddings = [side.embedding for side in sides.values()]
    scores = rank_queries(sides)
    ranking = describe_ranking(config, store, scores)
    learned = config.kind in ("trained", "untrained")
    metrics = {
        "dataset": config.dataset,
        **ranking,
        "parsing": score_masks(config, embeddings, [query, gallery]),
        "parts": score_parts(embeddings[1]),
        "parameters": sum(p.numel() for p in network.parameters()) if learned else None,
        "pseudo_labels": last_labels(run / "history.csv"),
    }
    if rerank:
        (metrics["reranked"],) = rank_features(sides, ranking["default_feature"], True).values()
    write_json(metrics, run / "metrics.json")
    write_features(sides, run / "features.npz")
    write_query_scores(scores[ranking["default_feature"]], run / "queries.npz")
    features = [embedding.features()[ranking["default_feature"]] for embedding in embeddings]
    visuals: dict[str, Any] = rank_examples(query, gallery, *features)
    visuals |= mask_examples(gallery, embeddings[1])
    with whole_file(run / "visuals.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **visuals)


def embed_sides(run: Path, store: ImageStore) -> tuple[Network, Config, dict[str, Side]]:
    """Load a run's model and its config, and compute features of query and gallery."""
    network, config = load_network(run / "model.pt")
    config = resolve_precision(config, default_device(), "evaluation")
    splits = {name: store.split(name) for name in ("query", "gallery")}
    sides = {
        name: Side(describe(config, network, split, name), split.ids, split.cameras)
        for name, split in splits.items()
    }
    return network, config, sides


def describe_ranking(
    config: Config, store: ImageStore, scores: Mapping[str, dict[str, np.ndarray]]
) -> dict[str, Any]:
    """List the ranking measures of all features and of the config's, and where they come from.

    Args:
        config: the config of the run.
        store: query and gallery.
        scores: the result of `rank_queries`.
    """
    wanted = config.evaluation.feature
    default = wanted if wanted in scores else "global"
    ranking = {name: mean_scores(found) for name, found in scores.items()}
    matched = np.isfinite(scores[default]["mAP"])
    note = describe_protocol(config, store.info["note"])
    if not matched.all():
        scored = f"scored are the {matched.sum():,} of {len(matched):,} queries with a match"
        note = "; ".join(filter(None, [note, scored if matched.any() else "not scored"]))
    return {
        "method": config.method,
        "seed": config.seed,
        "precision": config.evaluation.precision,
        "default_feature": default,
        "features": ranking,
        **ranking[default],
        "queries": len(matched),
        "queries_scored": int(matched.sum()),
        "label_note": note,
    }


def rank_features(
    sides: Mapping[str, Side], only: str = "", rerank: bool = False
) -> dict[str, dict[str, float | None]]:
    """Compute the means of `rank_queries`."""
    found = rank_queries(sides, only, rerank)
    return {name: mean_scores(scores) for name, scores in found.items()}


def rank_queries(
    sides: Mapping[str, Side], only: str = "", rerank: bool = False
) -> dict[str, dict[str, np.ndarray]]:
    """Compute the ranking measures of every test feature, or of one, for each query.

    The CPU computes the test features, so stored features give the same ones.
    """
    query, gallery = sides["query"], sides["gallery"]
    found, searched = query.embedding.features(), gallery.embedding.features()
    device = default_device()
    return {
        name: query_scores(
            *(found[name].to(device), query.ids, query.cameras),
            *(searched[name].to(device), gallery.ids, gallery.cameras),
            rerank=rerank,
        )
        for name in ([only] if only else found)
    }


def describe_protocol(config: Config, note: str) -> str:
    """Describe differences of data, use of labels and precision from the standard protocol."""
    training, scores = config.training, config.evaluation.precision
    notes = [note]
    if uses_cameras(plain(config)):
        notes.append("camera labels used in training")
    if config.kind == "trained" and training.precision != "float32":
        notes.append(f"trained in {training.precision}")
    if scores != "float32":
        notes.append(f"features computed in {scores}")
    return "; ".join(filter(None, notes))


def describe(config: Config, network: Network, split: StoreSplit, name: str) -> Embedding:
    """Compute features of one split by the run's network or control, returned on the CPU."""
    if config.kind == "random_features":
        return Embedding(random_features(len(split), config.seed, name))
    if config.kind == "colour_histogram":
        return Embedding(colour_histogram(split.images))
    device = default_device()
    images = ImageBatches(split.images, device)
    title = f"features of {name}"
    precision, batch = config.evaluation.precision, config.evaluation.batch
    found = embed(place(network, device), images, batch, precision, title=title)
    tensors: dict[str, Any] = {key: x if x is None else x.cpu() for key, x in vars(found).items()}
    return Embedding(**tensors)


def score_masks(
    config: Config, embeddings: list[Embedding], splits: list[StoreSplit]
) -> dict[str, float] | None:
    """Score the parsing of query and gallery; None without parsed parts or without true masks."""
    labels = [e.part_labels for e in embeddings]
    if config.model.part_source != "parsed" or labels[0] is None or labels[1] is None:
        return None
    if splits[0].masks is None or splits[1].masks is None:
        return None
    predicted = torch.cat([labels[0], labels[1]])
    truth = np.concatenate([splits[0].masks, splits[1].masks])
    truth = to_grid(truth, *predicted.shape[1:])
    misplaced = misplaced_share(predicted, truth)
    return {**parsing_scores(predicted, truth), "misplaced_share": misplaced}


def score_parts(embedding: Embedding) -> dict[str, float] | None:
    """Score the use and the similarity of the parts over the gallery; None without parts."""
    features, seen = embedding.part_features, embedding.visibility
    if features is None or seen is None:
        return None
    similar, pairs = part_similarity(features, seen)
    return {
        "effective_parts": effective_parts(seen),
        "part_similarity": float(similar / pairs.clamp(min=1)),
    }


def last_labels(history: Path) -> dict[str, int | float | None] | None:
    """Return the pseudo-label scores of the last epoch, None for a run without training.

    A score is None if the identities are unknown.
    """
    rows = read_csv(history)
    if not rows:
        return None
    last = {name: rows[-1][name] for name in keys_at("pseudo_labels.")}
    return {
        name: None if not value else int(value) if name == "clusters" else float(value)
        for name, value in last.items()
    }

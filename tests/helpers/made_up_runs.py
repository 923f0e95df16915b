"""Run folders as training and evaluation leave them, with plausible random content."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from scwm.core.config import config_hash, merge, parse_assignments, split_variant
from scwm.evaluation.evaluate import rank_queries
from scwm.evaluation.sides import read_features, write_query_scores
from scwm.reporting.runs import CONTROLS, run_folder

DATASETS = ("mannequins", "market1501")
METHODS = ("scwm", "no_space", "uniform_memory", "global_only", "random_features", "pretrained")
SEEDS = (0, 1, 2)
TRANSFER = ("personx",)
NAMES = (DATASETS, METHODS, SEEDS)
LOSSES = ("loss", "loss_global", "loss_part", "loss_parsing", "loss_diversity", "loss_separation")
FROM_MASKS = (
    *("label_foreground_iou", "label_part_miou", "label_misplaced_share"),
    *("mask_foreground_iou", "mask_part_miou"),
)
OF_PARTS = ("part_wrong_ratio", "part_hidden_ratio", "part_hard_rank", "effective_parts")
OF_PARTS = (*OF_PARTS, "part_similarity")
OF_MEMORIES = ("wrong_share", "global_wrong_ratio", "global_hidden_ratio", "global_hard_rank")
STAGES = ("features", "pseudo_labels", "parsing", "training")
TEMPERED, TAUS = ("hard_mining", "noise_suppression"), (0.02, 0.05, 0.1, 0.3, 1.0)
SCORES = ("mAP", "mAP_trapezoid", "mINP", "rank1", "rank5", "rank10")


def _bodies(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """Part labels of upright ellipses, 1 at the head to 4 at the feet."""
    row, column = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    labels = []
    for shift in rng.uniform(-0.1, 0.1, count):
        body = ((row - 0.5) / 0.45) ** 2 + ((column - 0.5 - shift) / 0.25) ** 2 < 1
        labels.append(np.where(body, np.clip(row * 4, 0, 3).astype(int) + 1, 0))
    return np.array(labels, dtype=np.uint8)


def _pictures(rng: np.random.Generator, *shape: int) -> np.ndarray:
    base = rng.integers(60, 200, (*shape, 1, 1, 3))
    blocks = np.clip(base + rng.integers(-30, 30, (*shape, 8, 4, 3)), 0, 255).astype(np.uint8)
    return blocks.repeat(8, axis=-3).repeat(8, axis=-2)


def _unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    values = rng.normal(size=shape)
    values /= np.linalg.norm(values, axis=-1, keepdims=True)
    return values.astype(np.float32)


def _features(rng: np.random.Generator, parsed: bool) -> dict[str, np.ndarray]:
    """Stored features of 12 queries and of a gallery of 48 images and some distractors."""
    people = {"query": np.arange(12), "gallery": np.r_[np.arange(12).repeat(4), [-1] * 5]}
    arrays = {}
    for side, rows in people.items():
        count = len(rows)
        arrays |= {f"{side}_ids": rows + 1, f"{side}_cameras": np.arange(count) % 5 + 1}
        arrays[f"{side}_global"] = _unit(rng, count, 16)
        if parsed:
            arrays[f"{side}_parts"] = _unit(rng, count, 4, 8)
            arrays[f"{side}_visibility"] = rng.integers(0, 3, (count, 4)).astype(np.float32) / 8
    return arrays


def write_study(folder: Path) -> None:
    """The memories' part of a run's study.json."""
    rng = np.random.default_rng(int(folder.name.removeprefix("seed")))

    def scores() -> dict[str, float]:
        return {
            f"{memory}_{score}": round(float(rng.normal(centre, 0.1)), 6)
            for memory in ("global", "part")
            for score, centre in (("wrong_ratio", 1.0), ("hidden_ratio", 1.0), ("hard_rank", 0.2))
        }

    strategies = ("uniform", "hardest", *TEMPERED)
    sweep = [{"strategy": s, "tau": t, **scores()} for s in TEMPERED for t in TAUS]
    memory = {"strategies": {s: scores() for s in strategies}, "sweep": sweep}
    (folder / "study.json").write_text(json.dumps({"memory": memory}))


def write_run(root: Path, dataset: str, method: str, seed: int, epochs: int = 6) -> Path:
    """A run folder as training and evaluation leave it, with plausible random content.

    Args:
        method: a method, or a variant of one, as in ``scwm@model.parts=3``.
    """
    rng = np.random.default_rng([seed, *map(ord, dataset + method)])
    folder = run_folder(root, dataset, method, seed)
    folder.mkdir(parents=True)
    trained = method == "oracle" or method not in CONTROLS
    parsed = trained and method not in ("global_only", "stripes")
    truth = dataset == "mannequins"

    progress = np.arange(1, epochs + 1) / epochs
    history = pd.DataFrame({"epoch": np.arange(1, epochs + 1)})
    for scale, name in enumerate(LOSSES, start=1):
        history[name] = 6 / scale * np.exp(-2 * progress) + rng.normal(0, 0.05, epochs)
    history["clusters"] = rng.integers(90, 130, epochs)
    history["unclustered_share"] = 0.6 - 0.5 * progress + rng.normal(0, 0.02, epochs)
    for name in ("ari", "nmi", *FROM_MASKS, *OF_MEMORIES, *OF_PARTS):
        history[name] = 0.8 * progress + rng.normal(0, 0.03, epochs)
    history["learning_rate"] = 3.5e-4 * 0.1 ** (np.arange(epochs) // (epochs // 2 + 1))
    for stage in STAGES:
        history[f"seconds_{stage}"] = rng.uniform(1, 9, epochs)
    if not parsed:
        history[[*LOSSES[2:], *FROM_MASKS, *OF_PARTS]] = np.nan
    if not truth:
        history[[*FROM_MASKS]] = np.nan
    history.iloc[: None if trained else 0].to_csv(folder / "history.csv", index=False)

    centre = 0.7 if trained else 0.2
    scores = {k: round(float(v), 6) for k, v in zip(SCORES, rng.normal(centre, 0.03, 6), strict=1)}
    parsing = {"foreground_iou": 0.81, "part_miou": round(float(rng.normal(0.6, 0.02)), 6)}
    parts = {"effective_parts": 5.5, "part_similarity": round(float(rng.normal(0.5, 0.02)), 6)}
    labels = {"ari": 0.7, "nmi": 0.9, "clusters": int(history.clusters.iloc[-1])}
    metrics: dict[str, Any] = {
        "dataset": dataset,
        "method": method,
        "seed": seed,
        "default_feature": "both" if parsed else "global",
        "features": {name: scores for name in ("global", "parts", "both")[: 3 if parsed else 1]},
        "parsing": parsing if parsed and truth else None,
        "parts": parts if parsed else None,
        "parameters": None if method == "random_features" else 2_300_000,
        "pseudo_labels": labels | {"unclustered_share": 0.1} if trained else None,
        "label_note": "" if truth else "first 200 identities (easier protocol)",
        **scores,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, sort_keys=True))
    (folder / "transfer").mkdir()
    for target in TRANSFER:
        other = metrics | {name: round(score / 2, 6) for name, score in scores.items()}
        other |= {"average_precision": [other["mAP"] - 0.01, None, other["mAP"] + 0.01]}
        (folder / f"transfer/{target}.json").write_text(json.dumps(other | {"dataset": target}))
    config = {
        "dataset": dataset,
        "method": method,
        "seed": seed,
        "description": f"the method <{method}> & what differs | from scwm",
        "model": {"backbone": "mobilenet_v2", "image_size": [128, 64], "parts": 4},
        "memory": {"global_tau": 0.3, "part_tau": 0.1},
        "losses": {"part": 1.0},
        "parsing": {"space_correction": method != "no_space"},
        "training": {"epochs": epochs, "iterations": 40},
    }
    _, setting, value = split_variant(method)
    if setting:
        config = merge(config, parse_assignments([f"{setting}={value}"]))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    spent = float(history.filter(like="seconds_").to_numpy().sum()) if trained else 0.0
    provenance = {
        "commit": "0123456789abcdef",
        "dirty": False,
        "config_hash": config_hash(config),
        "data_hash": "bb" * 16,
        "weights_hash": None,
        "versions": {"python": "3.11.7", "torch": "2.14.1"},
        "hardware": {"processor": "made up", "cores": 2, "gpu": None},
        "seed": seed,
        "seconds_train": spent + 4.5,
        "cpu_seconds": 1.5 * spent,
        "seconds_evaluate": 7.0,
        "seconds": spent + 11.5,
        "images_per_second": 110.2,
        "peak_memory_mib": 900.0,
    }
    (folder / "provenance.json").write_text(json.dumps(provenance))

    visuals = {
        "rank_query": _pictures(rng, 5),
        "rank_gallery": _pictures(rng, 5, 10),
        "rank_correct": rng.random((5, 10)) < centre,
        "rank_score": np.sort(rng.random((5, 10)))[:, ::-1],
        "mask_images": _pictures(rng, 8),
    }
    if parsed:
        visuals["mask_parts"] = _bodies(rng, 8, 16, 8)
    if truth:
        visuals["mask_truth"] = _bodies(rng, 8, 64, 32)
    np.savez_compressed(folder / "visuals.npz", **visuals)
    np.savez(folder / "features.npz", **_features(rng, parsed))
    scores = rank_queries(read_features(folder / "features.npz"))
    write_query_scores(scores["both" if parsed else "global"], folder / "queries.npz")
    return folder


def write_runs(
    root: Path, datasets: Any = DATASETS, methods: Any = METHODS, seeds: Any = SEEDS
) -> Path:
    for dataset in datasets:
        for method in methods:
            for seed in seeds:
                write_run(root, dataset, method, seed)
    return root


def write_gapped(root: Path) -> Path:
    """One data set in which scwm lacks the metrics of seed 1 and no_space lacks everything."""
    write_runs(root, DATASETS[:1], METHODS[:3])
    (run_folder(root, "mannequins", "scwm", 1) / "metrics.json").unlink()
    for seed in SEEDS:
        shutil.rmtree(run_folder(root, "mannequins", "no_space", seed))
    return root

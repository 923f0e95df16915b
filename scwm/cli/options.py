"""Helpers of the commands.

Each module of commands has `add(parsers)`, which adds its commands, and one function per command.
Only functions that need torch or other large packages import them.
"""

import argparse
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

if TYPE_CHECKING:
    from scwm.core.settings import Config
    from scwm.data import ImageStore


def command(
    parsers: Parsers,
    name: str,
    run: Callable[[argparse.Namespace], list[str] | None],
    text: str,
    *examples: str,
) -> argparse.ArgumentParser:
    """Add a command.

    Args:
        parsers: the parsers that the command joins.
        name: name of the command.
        run: function that runs the command with its options.
        text: description in one line.
        examples: commands to copy, shown at the end of the help.
    """
    parser = parsers.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog="\n  ".join(["example:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run_command=run)
    return parser


def json_option(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print JSON, for other programs")


class _Device(argparse.Action):
    """Sets SCWM_DEVICE, which every computation of the process reads."""

    def __call__(self, parser: argparse.ArgumentParser, options: Any, value: Any, *_: Any) -> None:
        os.environ["SCWM_DEVICE"] = value


def device_option(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument(
        "--device",
        action=_Device,
        choices=("auto", "cpu", "cuda"),
        help="default: SCWM_DEVICE, else a GPU if there is one",
    )


def path_ending(*endings: str) -> Callable[[str], Path]:
    """Make an option's type: a path with one of these suffixes."""

    def read(text: str) -> Path:
        if Path(text).suffix not in endings:
            raise argparse.ArgumentTypeError(f"'{text}' does not end in {' or '.join(endings)}")
        if Path(text).is_dir():
            raise argparse.ArgumentTypeError(f"'{text}' is a folder; give the path of a file")
        return Path(text)

    return read


def folder(text: str) -> Path:
    """Read an option's path of a folder that need not exist."""
    if Path(text).is_file():
        raise argparse.ArgumentTypeError(f"'{text}' is a file; give the path of a folder")
    return Path(text)


def positive(text: str) -> int:
    """Read an option's whole number from 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


def verbosity() -> list[str]:
    """Options that give another `scwm` process the verbosity of this one."""
    return {logging.DEBUG: ["-v"], logging.WARNING: ["-q"]}.get(logging.getLogger("scwm").level, [])


def print_json(content: Any) -> None:
    """Print JSON for other programs."""
    print(json.dumps(content, indent=2))


def print_table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print rows in columns, the header first; the columns `right` are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join(cells).rstrip())


def open_run(run: Path, store: Path, transfer: bool = False) -> tuple["Config", "ImageStore"]:
    """Load the config of a run and open its store.

    Args:
        transfer: the store is that of another data set.
    """
    from scwm.core.config import load_config
    from scwm.core.errors import ScwmError
    from scwm.data import ImageStore
    from scwm.data.entries import overlaps_training

    config, images = load_config(run / "config.yaml"), ImageStore(store)
    dataset = images.info["dataset"]
    if transfer and overlaps_training(config.dataset, dataset):
        raise ScwmError(
            f"The test images of {dataset} are training images of {config.dataset}.",
            store,
            "score on another data set",
        )
    if transfer and dataset == config.dataset:
        raise ScwmError(
            f"The run was trained on {dataset} itself.",
            store,
            "give the store of another data set, or leave out --transfer",
        )
    for key, wanted, found in (
        ("dataset", dataset if transfer else config.dataset, dataset),
        ("model.image_size", config.model.image_size, images.info["image_size"]),
    ):
        if wanted != found:
            raise ScwmError(
                f"The run's {key} is {wanted}, the store's {found}.",
                store,
                f"give a store with the run's {key}",
            )
    return config, images

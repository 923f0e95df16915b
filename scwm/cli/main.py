"""The command line: ``scwm COMMAND`` or ``python -m scwm COMMAND``."""

import argparse
import io
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any, TextIO

from scwm.cli import benchmark, data, doctor, freeze, inference, parsing, reporting, runs
from scwm.core.errors import Interrupted, ScwmError
from scwm.core.files import refusal
from scwm.core.plugins import optional_module

GROUPS = {
    "preparation": (data, doctor),
    "runs": (runs, benchmark, freeze),
    "your own crops": (inference, parsing),
    "results": (reporting,),
}
logger = logging.getLogger(__name__)

EXIT_STATUS = """\
exit status: 0 done, 1 error, 2 wrong usage, 75 training stopped, 130 Ctrl-C
example:
  scwm train --help"""


@contextmanager
def _messages() -> Iterator[None]:
    """Send the messages of the package to stderr; escape what a stream's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not a notebook's
            stream.reconfigure(errors="backslashreplace")
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Message())
    package = logging.getLogger("scwm")
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(logging.NOTSET)


@_messages()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the command and its options; default: those of this process.

    Returns:
        The exit status: 0 done, 1 a user's error, 75 (EX_TEMPFAIL) a signal stopped a training,
        130 stopped by Ctrl-C, 141 (SIGPIPE) the reader of stdout is gone.
    """
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:  # the shell requests completions
        optional_module("argcomplete", "argcomplete").autocomplete(parser)
    try:
        try:
            options = parser.parse_args(arguments)
            _set_level(options.level)
            following = options.run_command(options)
            if following:  # `launch` of a command that this process can run
                options = parser.parse_args(following)
                options.run_command(options)
        finally:
            sys.stdout.flush()  # a failure at the exit of Python has no useful message
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        logger.warning("stopped; a training resumes from its last checkpoint")
        return 130
    except Exception as error:
        known = _explained(error)
        if known is None:
            raise
        logger.error(known)
        logger.debug("traceback of this error", exc_info=error)
        return 75 if isinstance(known, Interrupted) else 1
    return 0


def _set_level(level: int) -> None:
    """Choose which messages are shown; of several training processes, the first shows them."""
    first = (os.environ.get("RANK") or "0") == "0"
    logging.getLogger("scwm").setLevel(level if first else logging.ERROR)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes a message above an open progress bar, not into it."""

    def emit(self, record: logging.LogRecord) -> None:
        bars = sys.modules.get("tqdm")  # without it, no bar is open
        if bars is None:
            super().emit(record)
        else:
            bars.tqdm.write(self.format(record), file=sys.stderr)


class _Message(logging.Formatter):
    """Formats a message as plain text; a warning or an error says so."""

    def format(self, record: logging.LogRecord) -> str:
        kind = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return _folded(f"scwm: {kind}{super().format(record)}")


def _folded(text: str) -> str:
    """Fold the lines of a text between words at the width of the terminal."""
    if not sys.stderr.isatty():
        return text
    width = shutil.get_terminal_size().columns
    fold = textwrap.TextWrapper(
        width, subsequent_indent=" " * 10, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(fold.fill(line) for line in text.split("\n"))


def _explained(error: Exception) -> ScwmError | None:
    """Convert an error for the user; None if it is a bug."""
    if isinstance(error, ScwmError):
        return error
    text = str(error).split("\n")[0]
    kind = type(error).__name__  # torch has its own error for a GPU
    if kind in ("MemoryError", "OutOfMemoryError") or "can't allocate memory" in text:
        return ScwmError(
            f"Out of memory. {text[:200]}",
            "model.image_size, training.identities, training.instances, evaluation.batch",
            "lower one of them, or give the job more memory",
        )
    if isinstance(error, OSError):  # a full disk or a read-only folder
        return refusal(error)
    return None


class _Version(argparse.Action):
    """Prints the version; reads it only then, because reading the metadata takes a while."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        try:
            print("scwm", metadata.version("scwm"))
        except metadata.PackageNotFoundError:
            print("scwm, not installed: run from its source")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(
        "scwm",
        usage="scwm [-h] [--version] [-v | -q] COMMAND ...",
        description="Benchmark suite for unsupervised person re-identification (SCWM).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    messages = parser.add_mutually_exclusive_group()
    for name, level, text in (
        ("verbose", logging.DEBUG, "show debug messages too"),
        ("quiet", logging.WARNING, "show only warnings and errors, no progress bars"),
    ):
        messages.add_argument(
            f"-{name[0]}",
            f"--{name}",
            action="store_const",
            const=level,
            default=logging.INFO,
            dest="level",
            help=text,
        )
    parsers = parser.add_subparsers(
        prog="scwm", required=True, metavar="COMMAND", help=argparse.SUPPRESS
    )
    lines: list[str] = []
    for title, modules in GROUPS.items():
        before = set(parsers.choices)
        for module in modules:
            module.add(parsers)
        lines.append(f"{title}:")
        lines += [_line(name, p) for name, p in parsers.choices.items() if name not in before]
    parser.epilog = "\n".join([*lines, EXIT_STATUS])
    return parser


def _line(name: str, parser: argparse.ArgumentParser) -> str:
    text = parser.description or ""
    first = f"  {name:9}  "
    folded = textwrap.wrap(text[0].lower() + text[1:-1], 80 - len(first))
    return "\n".join([first + folded[0], *(" " * len(first) + line for line in folded[1:])])

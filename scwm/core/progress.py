"""Progress bars, shown in a terminal only."""

import logging
import os
import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def is_shown() -> bool:
    """Whether progress bars are shown: on a terminal, in a training's first process, without -q."""
    quiet = logging.getLogger("scwm").level > logging.INFO
    return sys.stderr.isatty() and (os.environ.get("RANK") or "0") == "0" and not quiet


def progress(items: Iterable[T], title: str, total: int | None = None) -> Iterable[T]:
    """Iterate over `items` and show a bar on stderr."""
    return tqdm(items, desc=title, total=total, disable=not is_shown(), leave=False)

"""Progress bars: shown in a terminal, silent elsewhere."""

import os
import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], title: str, total: int | None = None) -> Iterable[T]:
    """Iterate over `items` behind a bar on stderr; no bar when stderr is not a terminal, nor in
    other processes of one training than the first."""
    silent = not sys.stderr.isatty() or os.environ.get("RANK", "0") != "0"
    return tqdm(items, desc=title, total=total, disable=silent, leave=False)

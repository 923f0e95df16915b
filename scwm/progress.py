"""Progress bars: shown in a terminal, silent elsewhere."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], title: str, total: int | None = None) -> Iterable[T]:
    """Iterate over `items` behind a bar on stderr; no bar when stderr is not a terminal."""
    return tqdm(items, desc=title, total=total, disable=not sys.stderr.isatty(), leave=False)

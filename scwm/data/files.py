"""Folders of images: what counts as one, where a data set's root is, and writing one whole."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scwm.errors import ScwmError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


def list_images(folder: Path) -> list[Path]:
    """The image files of one folder, sorted by name; hidden and other files are passed over."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file())
    return [
        folder / name
        for name in names
        if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
    ]


def find_root(source: Path, needed: tuple[str, ...], title: str) -> Path:
    """The folder at `source`, or nested up to two levels in it, that holds all of `needed`.

    Raises:
        ScwmError: there is none, or more than one.
    """
    if not source.is_dir():
        raise ScwmError(
            f"no folder with {title} here", source, "give the folder that holds the data set"
        )
    for roots in ([source], source.glob("*"), source.glob("*/*")):
        found = [
            root
            for root in sorted(roots)
            if root.name != "__MACOSX" and all((root / name).exists() for name in needed)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise ScwmError(
                f"several copies of {title} in one folder",
                ", ".join(str(root) for root in found),
                "give the folder of one of them",
            )
    best = max(
        [source, *source.glob("*")], key=lambda root: sum((root / n).exists() for n in needed)
    )
    missing = [name for name in needed if not (best / name).exists()]
    raise ScwmError(
        f"{title}: missing {', '.join(missing)}",
        source,
        f"the folder must hold {', '.join(needed)} side by side",
    )


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that becomes `target` if the block succeeds.

    An error leaves neither the temporary folder nor a half-written target; an existing target
    is replaced only at the end.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

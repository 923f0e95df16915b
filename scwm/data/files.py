"""Folders of images: their files, the root of a data set, and writing a folder whole."""

import fcntl
import glob
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scwm.core.errors import ScwmError
from scwm.core.files import refusal

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})
# Every folder of the suite holds one of them, also after Snakemake has removed its output files
# before it makes them again.
MARKS = ("source.json", "store.json", "masks.npy")
_LABEL = re.compile(r"-1|\d{1,18}", re.ASCII)  # fits 64 bits


def read_label(text: str) -> int:
    """Parse an identity or a camera: a whole number from -1 on.

    Raises:
        ValueError: the text is not such a number.
    """
    if not _LABEL.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is not a whole number from -1 on")
    return int(text)


def is_file(path: Path) -> bool:
    """Whether a file exists; False also for a name that no disk could hold."""
    try:
        return path.is_file()
    except OSError:
        return False


def read_text(path: Path) -> str:
    """Read the text of a list.

    Raises:
        ScwmError: the file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise refusal(error, path) from error
    except UnicodeDecodeError as error:
        raise ScwmError(f"not a text in UTF-8: {error}", path, "save it as UTF-8") from error


def list_images(folder: Path) -> list[Path]:
    """List the image files of one folder, sorted by name, without hidden and other files.

    Raises:
        ScwmError: a name is not UTF-8, so that no list could hold it.
    """
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file())
    names = [
        name
        for name in names
        if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
    ]
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ScwmError(f"file name {name!r} is not UTF-8", folder, "rename it") from None
    return [folder / name for name in names]


def find_root(source: Path, needed: tuple[str, ...], title: str) -> Path:
    """Find the folder that holds all of `needed`: `source`, or one up to two levels below it.

    Raises:
        ScwmError: no folder holds them, or several do.
    """
    if not source.is_dir():
        raise ScwmError(
            f"no folder with {title} here",
            source,
            "give the folder that holds the data set, or its zip or tar archive",
        )
    for roots in ([source], source.glob("*"), source.glob("*/*")):
        found = [
            root
            for root in sorted(roots)
            if root.name not in ("__MACOSX", "masks")
            and all((root / name).exists() for name in needed)
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
        f"the folder must hold {', '.join(needed)}",
    )


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `target` that becomes `target` if the block succeeds.

    An error leaves neither the temporary folder nor a half-written target. An existing target is
    replaced only at the end. Temporary folders of killed processes are removed.

    Raises:
        ScwmError: `target` holds files that the suite did not put there, or the operating system
            refuses a file.
    """
    target = Path(os.path.abspath(target))
    _check_replaceable(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    lock = -1
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = _make_locked(temporary, f".{glob.escape(target.name)}.*.part")
        yield temporary
        if target.exists():  # renamed, not removed: a reader misses it only for a moment
            target.rename(temporary.with_suffix(".old.part"))
        temporary.rename(target)
    except OSError as error:
        raise refusal(error, target) from error
    finally:
        for folder in (temporary, temporary.with_suffix(".old.part")):
            shutil.rmtree(folder, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


def _check_replaceable(target: Path) -> None:
    if target.is_dir():
        made = any((target / mark).is_file() for mark in MARKS) or not any(target.iterdir())
    else:
        made = not target.exists()
    if not made:
        raise ScwmError(
            "the folder holds files that the suite did not put there"
            if target.is_dir()
            else "a file is in the folder's place",
            target,
            "move them away, or give another folder",
        )


def _make_locked(folder: Path, pattern: str) -> int:
    """Make `folder` and return a descriptor that locks it until it is closed or its process ends.

    Folders next to it that match `pattern` and that no process locks belong to killed processes
    and are removed. On a file system without locks they stay.
    """
    parent = os.open(folder.parent, os.O_RDONLY)  # no other process in between
    try:
        with suppress(OSError):
            fcntl.flock(parent, fcntl.LOCK_EX)
        for left in folder.parent.glob(pattern):
            with suppress(OSError):
                lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left, ignore_errors=True)
                finally:
                    os.close(lock)
        folder.mkdir()
        lock = os.open(folder, os.O_RDONLY)
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        return lock
    finally:
        os.close(parent)

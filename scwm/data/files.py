"""Folders of images: their files, the root of a data set, and writing a folder whole."""

import fcntl
import glob
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from scwm.core.errors import ScwmError
from scwm.core.files import check_writable, next_to, read_json, refusal

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"),
        *(".avif", ".jp2", ".ppm", ".pgm"),
    }
)
logger = logging.getLogger(__name__)
SOURCE = "source.json"  # lists what `scwm data get` put into a folder
STORE = frozenset({"images.npy", "index.csv", "store.json", "masks.npy"})  # the files of a store
_OF_SYSTEMS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_NOT_COUNTED = (*_OF_SYSTEMS, "manifest.csv", SOURCE, "store.json", "masks.npy")  # not the user's
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")


def is_file(path: Path) -> bool:
    """Whether a file exists; False also for a name that no disk could hold.

    Raises:
        ScwmError: its folder may not be read.
    """
    try:
        return path.is_file()
    except PermissionError as error:
        raise refusal(error, path) from error
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


def list_images(folder: Path, below: bool = False) -> list[Path]:
    """List the images of a folder, sorted by name, without hidden files.

    A link counts as what it leads to. A link that leads nowhere counts as an image, so that reading
    it names it. A warning counts the files of other types.

    Args:
        folder: the folder.
        below: include its sub-folders, each after the files of its parent and only once, even
            if links lead to it.

    Raises:
        ScwmError: a folder cannot be read, or a name is not UTF-8, so that no list could hold it.
    """
    images: list[Path] = []
    others: list[Path] = []
    waiting, seen = [folder], set()
    while waiting:
        here = waiting.pop()
        identity = here.stat().st_dev, here.stat().st_ino
        if identity in seen:
            continue
        seen.add(identity)
        found, folders, rest = scan(here)
        images += found
        others += rest
        (waiting if below else others).extend(reversed(folders))
    if others:
        kinds = "files of other types" if below else "other files and folders"
        first = others[0].relative_to(folder.parent)
        logger.warning(f"{kinds}: {len(others):,} passed over, such as {first}")
    for path in images:
        check_name(path)
    return images


def check_outside(out: Path, paths: Sequence[Path]) -> None:
    """Check that an output can be written, and replaces or joins no crop that is read.

    It may be none of `paths`, nor be in a folder among them, nor be a file's folder: it would
    replace a crop, or the next call would find it among the crops.

    Raises:
        ScwmError: it is, or it cannot be written.
    """
    check_writable(out)
    target = Path(os.path.realpath(out))  # unlike Path.resolve, also of links in a circle
    for path in paths:
        place = Path(os.path.realpath(path))
        if not place.is_dir() and target == place.parent:
            raise ScwmError(f"The output would lie beside {path}.", out, "give another folder")
        if target.is_relative_to(place):
            raise ScwmError(
                f"The output would lie in {path}, which is read.", out, "give a path outside it"
            )


def scan(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """List the images, the sub-folders and the other files of a folder, each sorted by name."""
    images: list[Path] = []
    folders: list[Path] = []
    others: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                path = folder / entry.name
                lost = entry.is_symlink() and not os.path.exists(path)
                if entry.name.startswith(".") or entry.name in _NOT_COUNTED:
                    continue
                if lost or (entry.is_file() and path.suffix.lower() in IMAGE_SUFFIXES):
                    images.append(path)
                else:
                    (folders if entry.is_dir() else others).append(path)
    except OSError as error:
        raise refusal(error, folder) from error
    return images, folders, others


def check_name(path: Path) -> None:
    """Check that a list in UTF-8 can hold a path.

    Raises:
        ScwmError: it cannot.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ScwmError(
            "a file or folder name is not UTF-8", ascii(str(path)), "rename it"
        ) from None


def unreadable(error: OSError, path: Path) -> ScwmError:
    """Return the error to show for a file of a data set that cannot be opened."""
    if path.is_symlink() and not path.exists():
        return ScwmError("a link that leads nowhere", path, "mend the link or remove it")
    return refusal(error, path)


def inner_path(name: str) -> PurePosixPath | None:
    """Read a relative path of an archive or a list, also with the backslashes of Windows.

    Returns:
        The path; None if it leads out of its folder.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts or _DRIVE.match(name)
    return None if outside else path


def holds(source: Path, folder: str) -> bool:
    """Whether `source` holds a folder, directly or at most two levels deeper."""
    patterns = (folder, f"*/{folder}", f"*/*/{folder}")
    return any(path.is_dir() for pattern in patterns for path in source.glob(pattern))


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
    scan(source)  # a folder that cannot be read holds nothing to see
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
def new_folder(target: Path, store: bool = False) -> Iterator[Path]:
    """Yield a temporary folder next to `target` that becomes `target` if the block succeeds.

    An error leaves neither the temporary folder nor a half-written target. An existing target is
    replaced only at the end. Temporary folders of killed processes are removed.

    Args:
        target: the folder; of a link, what it leads to.
        store: whether it is a store, which replaces only a store; else a data set, which replaces
            only what its `SOURCE` lists.

    Raises:
        ScwmError: `target` holds files that the suite did not put there, or the operating system
            refuses a file.
    """
    target = Path(os.path.realpath(target))
    _check_replaceable(target, store)
    temporary = next_to(target, f".{os.getpid()}.part")
    lock = -1
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = _make_locked(temporary, f"{glob.escape(next_to(target, '').name)}.*.part")
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


def _check_replaceable(target: Path, store: bool) -> None:
    if target.is_dir():
        names = set(os.listdir(target)) - _OF_SYSTEMS
        known: set[str] = set(STORE) if store else set()
        if not store and "source" in (content := made_from(target)):
            known = {SOURCE, "manifest.csv", *content.get("holds", names)}
        made = names <= known
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


def made_from(folder: Path) -> dict[str, Any]:
    """Read what `scwm data get` recorded in a folder; without a record it is empty."""
    with suppress(ScwmError):
        return read_json(folder / SOURCE)
    return {}


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

"""Files that are written whole or not at all, and errors of the disk."""

import csv
import errno
import hashlib
import json
import os
import pwd
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scwm.core.errors import ScwmError

_ROOM = "make room there, or give a path on another disk"
_RIGHTS = "give a path that may be read and written, or change its permissions"
LONGEST = 200  # bytes of a name that can have an ending
DISK_ERRORS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
}
"""Remedies for errors of the disk, as opposed to errors in the content of a file."""


def refusal(error: OSError, path: object = None) -> ScwmError:
    """Return the error to show when the operating system refuses `path` or the file in `error`."""
    remedy = DISK_ERRORS.get(error.errno or 0, "check the path")
    return ScwmError(error.strerror or str(error), error.filename or path, remedy)


def next_to(path: Path, ending: str) -> Path:
    """Name a temporary file next to `path`: hidden, and short enough for a disk (255 bytes)."""
    name = os.fsencode(path.name)
    short = path.name if len(name) <= LONGEST else hashlib.sha256(name).hexdigest()
    return path.with_name(f".{short}{ending}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file next to `path` that becomes `path` if the block succeeds.

    An error removes the temporary file and leaves `path` unchanged. A device is written directly.

    Raises:
        ScwmError: the operating system refuses the file.
    """
    path = Path(os.path.realpath(path))
    in_place = path.exists() and not path.is_file()
    temporary = path if in_place else next_to(path, f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if not in_place:
            temporary.replace(path)
    except OSError as error:
        raise refusal(error, path) from error
    finally:
        if not in_place:
            with suppress(OSError):
                temporary.unlink()


def write_text(text: str, path: Path) -> Path:
    """Write a text file, whole or not at all; returns its path."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def cache_folder() -> Path:
    """Return the cache: $SCWM_CACHE, $XDG_CACHE_HOME/scwm or ~/.cache/scwm.

    Raises:
        ScwmError: the variables are not set, and the user has no home folder.
    """
    if own := os.environ.get("SCWM_CACHE"):
        return Path(own)
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches, "scwm")
    try:
        home = os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        raise ScwmError(
            "This user has no home folder for the cache.",
            "HOME",
            "set SCWM_CACHE to a folder that may be written",
        ) from None
    return Path(home, ".cache", "scwm")


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file with a header, as text by column."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; without a file it is empty.

    Raises:
        ScwmError: the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise refusal(error, path) from error
    except (ValueError, TypeError) as error:
        raise ScwmError(
            f"The file is damaged: {error}", path, "remove it, and make it again"
        ) from error


def check_writable(out: Path) -> Path:
    """Check that a file or folder can be made, which may come after hours of work.

    Returns:
        The folder that was checked: the nearest to `out` that exists.

    Raises:
        ScwmError: the operating system refuses it.
    """
    path = Path(os.path.realpath(out))
    folder = path if path.is_dir() else next(one for one in path.parents if os.path.lexists(one))
    device = path.exists() and not (path.is_file() or path.is_dir())
    try:
        if not device:
            tempfile.TemporaryFile(dir=folder).close()
        return folder
    except OSError as error:
        error.filename = None  # a temporary file's
        raise refusal(error, out) from error


def check_output(out: Path, beside: Mapping[Path, str]) -> None:
    """Check that an output lies in no run, and that files next to it may be replaced.

    Args:
        out: the output.
        beside: other files that are written with it, each with a text that the suite's own hold.

    Raises:
        ScwmError: it lies in a run, whose files it could replace, or another file is there.
    """
    if (out.parent / "config.yaml").exists() and (out.parent / "history.csv").exists():
        raise ScwmError("The output would lie in a run.", out, "give a path outside it")
    for path, sign in beside.items():
        if path.exists() and sign not in path.read_text(encoding="utf-8", errors="replace"):
            raise ScwmError(
                f"{path.name} is written next to the output, and another file has this name.",
                path,
                "rename that file, or give the output another name",
            )


def save_atomically(payload: Mapping[str, Any], path: Path) -> None:
    """Save a payload with torch to a file that is whole or absent, also after a power cut.

    Raises:
        ScwmError: the operating system refuses the file, as on a full disk.
    """
    import torch  # slow to import, and reading a config does not need it

    with whole_file(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(payload, file)
        except RuntimeError as error:  # of torch's writer, which hides the error of the disk
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write JSON whose bytes depend only on the content: sorted keys, floats to 6 decimals."""
    write_text(json.dumps(_rounded(content), indent=2, sort_keys=True) + "\n", path)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return round(value, 6) if isinstance(value, float) else value

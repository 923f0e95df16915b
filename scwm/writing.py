"""Files that are written whole or not at all, and what to tell where the disk refuses."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scwm.errors import ScwmError

_ROOM = "make room there, or give a path on another disk"
_RIGHTS = "give a path that may be read and written, or change its permissions"
DISK_ERRORS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
}
"""What to do where the disk, not the content of a file, is at fault."""


def refusal(error: OSError, path: object = None) -> ScwmError:
    """The error to show where the operating system refuses `path`, or the file it names."""
    remedy = DISK_ERRORS.get(error.errno or 0, "check the path")
    return ScwmError(error.strerror or str(error), error.filename or path, remedy)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that becomes `path` if the block succeeds.

    An error leaves no temporary file, and `path` as it was. A device is written to as it is.

    Raises:
        ScwmError: the operating system refuses the file.
    """
    path = Path(os.path.realpath(path))
    in_place = path.exists() and not path.is_file()
    beside = path if in_place else path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        if not in_place:
            beside.replace(path)
    except OSError as error:
        raise refusal(error, path) from error
    finally:
        if not in_place:
            with suppress(OSError):
                beside.unlink()

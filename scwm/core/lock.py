"""Locks that cannot go stale: the kernel frees them when the process that holds them ends."""

import errno
import fcntl
import logging
import os
from pathlib import Path
from typing import TextIO

logger = logging.getLogger(__name__)


class Lock:
    """An advisory lock on a file, which contains the number of the process that holds the lock.

    Args:
        path: the file of the lock; created if it is missing, and never removed.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file: TextIO = open(path, "a+", encoding="ascii")  # noqa: SIM115 - open while held

    def acquire(self, wait: bool = False) -> bool:
        """Take the lock; return False if another process holds it and `wait` is false.

        A file system without locks gets a warning, and the lock counts as taken.
        """
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise
            logger.warning(
                "%s: no lock here (%s); do not start the same work twice", self.file.name, error
            )
        self.file.truncate(0)
        self.file.write(f"{os.getpid()}\n")
        self.file.flush()
        return True

    def holder(self) -> str:
        """Return the number of the process that took the lock last."""
        self.file.seek(0)
        return self.file.read().strip()

    def release(self) -> None:
        """Release the lock."""
        self.file.close()

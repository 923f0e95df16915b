"""Settings of malloc that keep freed memory in the process, for buffers of equal size per step."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> None:
    """Configure glibc's malloc to keep large buffers after each use.

    By default malloc maps each large tensor, touches it page by page and unmaps it again. On
    virtual machines this doubles the time of a training step on a CPU. Without glibc the function
    does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, 1 << 30)
    mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
    mallopt(M_TOP_PAD, 1 << 26)

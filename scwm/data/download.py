"""Downloads that succeed completely or not at all."""

import errno
import http.client
import logging
import os
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scwm.core.errors import ScwmError
from scwm.core.files import DISK_ERRORS, file_hash, refusal
from scwm.core.progress import progress

logger = logging.getLogger(__name__)

_BLOCK = 1 << 20
_RETRY = frozenset({408, 416, 425, 429, 500, 502, 503, 504})
_GOOGLE_DRIVE = ("drive.google.com", "docs.google.com")


def fetch(
    urls: Sequence[str],
    target: Path,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    tries: int = 3,
    wait: float = 1.0,
    timeout: float = 60.0,
    remedy: str = "check the network, or supply the file yourself with --source",
) -> Path:
    """Download one file from the first of `urls` that delivers it completely.

    The bytes go to `<target>.part`, which is resumed, checked and then renamed. A link of Google
    Drive needs the package gdown.

    Args:
        urls: sources of the same file, in order of preference.
        target: path of the file; an existing file that passes the checks is kept.
        sha256, md5, size: expected values of the file, as far as they are known.
        tries: attempts per source, with a pause of `wait` seconds that doubles each time.
        timeout: seconds without a byte after which a connection counts as broken.
        remedy: what the error advises if no source delivers the file.

    Returns:
        `target`.

    Raises:
        ScwmError: no source delivered the file; the message lists the failure of each. Or the
            disk is full or read-only.
    """
    expected = {"size": size, "sha256": sha256, "md5": md5}
    part = target.with_name(f"{target.name}.part")
    verifiable = bool(sha256 or md5)
    if target.is_file() and not _mismatch(target, expected):
        return target
    if verifiable and part.is_file() and not _mismatch(part, expected):
        part.replace(target)  # an earlier call was stopped just before this
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(error, target) from error
    failures = []
    for url in urls:
        if not verifiable:  # no check would detect the bytes of another source
            part.unlink(missing_ok=True)
        for attempt in range(tries):
            if attempt:
                time.sleep(wait * 2 ** (attempt - 1))
            try:
                if urllib.parse.urlsplit(url).hostname in _GOOGLE_DRIVE:
                    resumed = _download_from_drive(url, part, timeout)
                else:
                    resumed = _download(url, part, timeout, size)
                wrong = _mismatch(part, expected)
                if wrong is None:
                    part.replace(target)
                    return target
                part.unlink()
                failures.append(f"{url}: {wrong}")
                if not resumed:  # the earlier bytes may have been wrong
                    break
            except (OSError, http.client.HTTPException, ValueError) as error:
                if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                    raise refusal(error, part) from error
                failures.append(f"{url}: {error}")
                if isinstance(error, urllib.error.HTTPError) and error.code not in _RETRY:
                    break
    if not verifiable:
        part.unlink(missing_ok=True)
    lines = [f"{one} ({n} times)" if n > 1 else one for one, n in Counter(failures).items()]
    raise ScwmError(
        f"could not download {target.name}:\n  " + "\n  ".join(lines or ["no source given"]),
        target,
        remedy,
    )


def _download(url: str, part: Path, timeout: float, size: int | None) -> bool:
    """Append to `part`, or begin it; return whether the download was resumed.

    Raises:
        OSError: fewer bytes come than announced, or do not fit on the disk.
    """
    done = part.stat().st_size if part.exists() else 0
    logger.debug("download %s from byte %d", url, done)
    request = urllib.request.Request(url, headers={"User-Agent": "scwm"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is not the beginning of this file
            part.unlink(missing_ok=True)
        raise
    with response:
        resumed = getattr(response, "status", None) == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            part.unlink()
            raise OSError("the server resumed at another byte than asked for")
        start = done if resumed else 0
        length = response.headers.get("Content-Length")
        if length and int(length) > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, f"{int(length):,} bytes do not fit on the disk", str(part))
        blocks = -(-int(length) // _BLOCK) if length else None
        with open(part, "ab" if resumed else "wb") as file:
            title = f"download {part.stem}"
            for block in progress(iter(lambda: response.read(_BLOCK), b""), title, total=blocks):
                file.write(block)
                if size is not None and file.tell() > size:
                    break  # it is another, possibly endless file
            file.flush()
            os.fsync(file.fileno())
            got = file.tell() - start
    if length and got < int(length) and (size is None or start + got <= size):
        raise OSError(f"the connection broke after {got} of {length} bytes")
    return resumed


def _download_from_drive(url: str, part: Path, timeout: float) -> bool:
    """Download a file of Google Drive to `part`, and return whether the download was resumed.

    It never was: gdown itself checks what it resumes.

    Raises:
        OSError: Google Drive does not deliver the file.
        ScwmError: gdown is not installed.
    """
    try:
        import gdown
        from gdown.exceptions import DownloadError
    except ImportError as error:
        raise ScwmError(
            "Google Drive needs the package gdown, which is not installed.",
            url,
            "pip install gdown, or download the file in a browser and supply it with --source",
        ) from error
    quiet = not sys.stderr.isatty()
    try:
        gdown.download(url, str(part), quiet=quiet, use_cookies=False, resume=True, timeout=timeout)
    except (DownloadError, LookupError) as error:  # LookupError: a header that it expects
        raise OSError(" ".join(str(error).split())) from error
    return False


def _mismatch(path: Path, expected: dict[str, int | str | None]) -> str | None:
    """Describe the first difference of the file from the expected values; None if it matches."""
    for kind, value in expected.items():
        if value is None:
            continue
        found = path.stat().st_size if kind == "size" else file_hash(path, kind)
        if found != (value.lower() if isinstance(value, str) else value):
            return f"{kind} differs: expected {value}, found {found}"
    return None

"""Downloads that succeed completely or not at all, by gdown."""

import glob
from collections.abc import Sequence
from pathlib import Path

from scwm.core.errors import ScwmError
from scwm.core.files import DISK_ERRORS, file_hash, refusal
from scwm.core.progress import is_shown

RETRIES = 2  # of a broken connection, which goes on where it broke if the server can


def fetch(
    urls: Sequence[str],
    target: Path,
    sha256: str | None = None,
    timeout: float = 60.0,
    remedy: str = "check the network, or supply the file yourself with --source",
) -> Path:
    """Download one file from the first of `urls` that delivers it completely.

    gdown writes to a file next to `target` and renames it. A later call resumes that file if the
    hash is known; without it, nothing would detect the bytes of another file.

    Args:
        urls: sources of the same file, in order of preference; links of Google Drive too.
        target: path of the file; an existing file with the hash is kept.
        sha256: the file's hash, if it is known.
        timeout: seconds without a byte after which a connection counts as broken.
        remedy: what the error advises if no source delivers the file.

    Returns:
        `target`.

    Raises:
        ScwmError: no source delivered the file; the message lists the failure of each. Or the
            disk is full or read-only.
    """
    from gdown.exceptions import DownloadError

    sha256 = sha256 and sha256.lower()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for there in (target, *_parts(target)):
            if sha256 and there.is_file() and file_hash(there) == sha256:
                there.replace(target)
                return target
        target.unlink(missing_ok=True)
        failures = []
        for url in urls:
            if not sha256:
                _forget(target)
            try:
                found = _download(url, target, timeout, sha256)
            except (DownloadError, LookupError, OSError, ValueError) as error:
                # LookupError: Google Drive's answer lacks a header
                if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                    raise
                failures.append(f"{url}: {' '.join(str(error).split())}")
                continue
            if found == sha256:
                return target
            target.unlink()
            failures.append(f"{url}: the hash differs: expected {sha256}, found {found}")
    except OSError as error:
        raise refusal(error, target) from error
    finally:
        if not sha256:
            _forget(target)
    raise ScwmError(
        f"could not download {target.name}:\n  " + "\n  ".join(failures or ["no source given"]),
        target,
        remedy,
    )


def _download(url: str, target: Path, timeout: float, sha256: str | None) -> str | None:
    """Download the file, and return its hash if one is expected.

    It resumes the partial file of an earlier call. If the server cannot resume it, or the result
    has another hash, it starts again from the first byte.
    """
    import gdown
    from gdown.exceptions import DownloadError, FileURLRetrievalError

    resumed = bool(_parts(target))
    while True:
        try:
            gdown.download(
                url,
                str(target),
                quiet=not is_shown(),
                use_cookies=False,
                resume=True,
                timeout=timeout,
                retries=RETRIES,
            )
        except DownloadError as error:  # with a cause, the connection broke
            if not resumed or error.__cause__ or isinstance(error, FileURLRetrievalError):
                raise
        else:
            found = file_hash(target) if sha256 else None
            if found == sha256 or not resumed:
                return found
            target.unlink()
        resumed = False
        _forget(target)


def _parts(target: Path) -> list[Path]:
    """List the files of incomplete downloads by gdown."""
    return list(target.parent.glob(f"{glob.escape(target.name)}{'?' * 8}.part"))


def _forget(target: Path) -> None:
    for part in _parts(target):
        part.unlink()

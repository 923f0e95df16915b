"""Downloads that succeed completely or not at all, by gdown."""

import glob
import sys
from collections.abc import Sequence
from pathlib import Path

from scwm.core.errors import ScwmError
from scwm.core.files import DISK_ERRORS, file_hash, refusal

RETRIES = 2  # of a broken connection, which then goes on where it broke


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
    import gdown
    from gdown.exceptions import DownloadError

    if sha256 and target.is_file() and file_hash(target) == sha256.lower():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
    except OSError as error:
        raise refusal(error, target) from error
    failures = []
    for url in urls:
        if not sha256:
            _forget(target)
        try:
            gdown.download(
                url,
                str(target),
                quiet=not sys.stderr.isatty(),
                use_cookies=False,
                resume=True,
                timeout=timeout,
                retries=RETRIES,
            )
        except (DownloadError, LookupError, OSError, ValueError) as error:
            # LookupError: Google Drive's answer lacks a header
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise refusal(error, target) from error
            failures.append(f"{url}: {' '.join(str(error).split())}")
            continue
        found = file_hash(target) if sha256 else None
        if sha256 is None or found == sha256.lower():
            return target
        target.unlink()
        failures.append(f"{url}: the hash differs: expected {sha256}, found {found}")
    if not sha256:
        _forget(target)
    raise ScwmError(
        f"could not download {target.name}:\n  " + "\n  ".join(failures or ["no source given"]),
        target,
        remedy,
    )


def _forget(target: Path) -> None:
    """Remove what gdown keeps of an incomplete download."""
    for part in target.parent.glob(f"{glob.escape(target.name)}{'?' * 8}.part"):
        part.unlink()

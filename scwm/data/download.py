"""Downloads that succeed completely or not at all, by gdown."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from scwm.core.errors import ScwmError
from scwm.core.files import DISK_ERRORS, refusal
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

    Args:
        urls: sources of the same file, in order of preference; links of Google Drive too.
        target: path of the file; an existing one is replaced.
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

    sha256 = sha256 and sha256.lower()
    failures = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for url in urls:
            digest = hashlib.sha256()
            with TemporaryDirectory(dir=target.parent) as folder:
                part = Path(folder, "part")
                try:
                    gdown.download(
                        url,
                        str(part),
                        quiet=not is_shown(),
                        use_cookies=False,
                        hasher=digest,
                        timeout=timeout,
                        retries=RETRIES,
                    )
                except (DownloadError, LookupError, OSError, ValueError) as error:
                    # LookupError: Google Drive's answer lacks a header
                    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                        raise
                    # gdown advises to resume its part file, which is deleted here
                    reason = str(error).partition(".\nThe received bytes are kept")[0]
                    failures.append(f"{url}: {' '.join(reason.split())}")
                    continue
                found = digest.hexdigest()
                if found == (sha256 or found):
                    return part.replace(target)
                failures.append(f"{url}: the hash differs: expected {sha256}, found {found}")
    except OSError as error:
        raise refusal(error, target) from error
    raise ScwmError(
        f"could not download {target.name}:\n  " + "\n  ".join(failures or ["no source given"]),
        target,
        remedy,
    )

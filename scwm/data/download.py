"""Downloads and archives that cannot half-succeed."""

import hashlib
import http.client
import lzma
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from scwm.data.files import new_folder
from scwm.errors import ScwmError
from scwm.progress import progress

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_BLOCK = 1 << 20
_RETRY = frozenset({408, 416, 425, 429, 500, 502, 503, 504})
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # an encrypted zip
    NotImplementedError,  # an unknown compression
)


def fetch(
    urls: Sequence[str],
    target: Path,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    tries: int = 3,
    wait: float = 1.0,
) -> Path:
    """Download one file from the first of `urls` that delivers it whole.

    The bytes go to `<target>.part`, which is resumed, checked, and only then renamed.

    Args:
        urls: sources of the same file, in order of preference.
        target: where the file goes; one that already passes the checks is kept.
        sha256, md5, size: what the file must be, as far as known.
        tries: attempts per source, with a pause of `wait` seconds that doubles each time.

    Returns:
        `target`.

    Raises:
        ScwmError: no source delivered the file; says for each what went wrong.
    """
    expected = {"size": size, "sha256": sha256, "md5": md5}
    if target.is_file() and not _mismatch(target, expected):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    verifiable = bool(sha256 or md5)
    failures = []
    for url in urls:
        if not verifiable:  # nothing would tell that another source's bytes do not fit
            part.unlink(missing_ok=True)
        for attempt in range(tries):
            if attempt:
                time.sleep(wait * 2 ** (attempt - 1))
            try:
                _download(url, part)
                wrong = _mismatch(part, expected)
                if wrong is None:
                    part.replace(target)
                    return target
                part.unlink()
                failures.append(f"{url}: {wrong}")
                break
            except (OSError, http.client.HTTPException, ValueError) as error:
                failures.append(f"{url}: {error}")
                if isinstance(error, urllib.error.HTTPError) and error.code not in _RETRY:
                    break
    if not verifiable:
        part.unlink(missing_ok=True)
    raise ScwmError(
        f"could not download {target.name}:\n  " + "\n  ".join(failures or ["no source given"]),
        target,
        "check the network, or supply the file yourself with --source",
    )


def _download(url: str, part: Path) -> None:
    """Append to, or begin, `part`; raises OSError when fewer bytes come than announced."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "scwm"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is no beginning of this file
            part.unlink(missing_ok=True)
        raise
    with response:
        resumed = getattr(response, "status", None) == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            part.unlink()
            raise OSError("the server resumed at another byte than asked for")
        start = done if resumed else 0
        length = response.headers.get("Content-Length")
        blocks = -(-int(length) // _BLOCK) if length else None
        with open(part, "ab" if resumed else "wb") as file:
            title = f"download {part.stem}"
            for block in progress(iter(lambda: response.read(_BLOCK), b""), title, total=blocks):
                file.write(block)
    got = part.stat().st_size - start
    if length and got != int(length):
        raise OSError(f"the connection broke after {got} of {length} bytes")


def _mismatch(path: Path, expected: dict[str, int | str | None]) -> str | None:
    """What differs between the file and what is expected of it; None if nothing does."""
    for kind, value in expected.items():
        if value is None:
            continue
        found = path.stat().st_size if kind == "size" else file_hash(path, kind)
        if found != (value.lower() if isinstance(value, str) else value):
            return f"{kind} differs: expected {value}, found {found}"
    return None


def file_hash(path: Path, kind: str = "sha256") -> str:
    """Hexadecimal digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive that `unpack` reads."""
    return path.name.lower().endswith(ARCHIVES)


def unpack(archive: Path, folder: Path, limit: int = 64 << 30) -> Path:
    """Unpack a zip or tar into `folder`, which appears only when all of it is there.

    Args:
        archive: the archive.
        folder: the folder to make; an existing one is replaced.
        limit: the most bytes that it may unpack to.

    Raises:
        ScwmError: the archive is broken, too large, or holds a link or a path that leads out.
    """
    with new_folder(folder) as temporary:
        extract(archive, temporary, limit)
    return folder


def extract(archive: Path, folder: Path, limit: int = 64 << 30) -> None:
    """Unpack into an existing folder; checks as in `unpack`."""
    try:
        with (
            zipfile.ZipFile(archive)
            if zipfile.is_zipfile(archive)
            else tarfile.open(archive) as opened
        ):
            members = list(_members(opened, archive))
            total = sum(size for _, size, _ in members)
            free = shutil.disk_usage(folder).free
            if total > min(limit, free):
                raise ScwmError(
                    f"the archive unpacks to {total:,} bytes; at most {min(limit, free):,} fit",
                    archive,
                    "make room, or unpack it yourself and give the folder",
                )
            for name, size, member in progress(members, f"unpack {archive.name}"):
                target = folder.joinpath(*PurePosixPath(name).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with _open(opened, member) as source, open(target, "xb") as file:
                    shutil.copyfileobj(source, file, _BLOCK)
                    if file.tell() != size:
                        raise EOFError(f"{name} is {file.tell()} bytes instead of {size}")
    except ScwmError:
        raise
    except _BROKEN as error:
        raise ScwmError(
            f"cannot unpack the archive: {error}", archive, "get the archive again"
        ) from error


def _members(
    opened: zipfile.ZipFile | tarfile.TarFile, archive: Path
) -> Iterator[tuple[str, int, zipfile.ZipInfo | tarfile.TarInfo]]:
    """Name, size and entry of every file; refuses whatever is no plain file inside the folder."""
    entries: list[tuple[str, int, bool, bool, zipfile.ZipInfo | tarfile.TarInfo]]
    if isinstance(opened, zipfile.ZipFile):
        # The upper half of a zip entry's attributes is its Unix mode: type bits 0o12 are a link.
        entries = [
            (one.filename, one.file_size, one.is_dir(), one.external_attr >> 28 in (0, 4, 8), one)
            for one in opened.infolist()
        ]
    else:
        entries = [
            (one.name, one.size, one.isdir(), one.isfile() or one.isdir(), one)
            for one in opened.getmembers()
        ]
    for name, size, is_folder, plain, entry in entries:
        parts = PurePosixPath(name).parts
        outside = name.startswith("/") or ".." in parts or "\\" in name or ":" in name
        if outside or not plain:
            kind = "path that leads out of the folder" if outside else "link or device"
            raise ScwmError(
                f"the archive holds a {kind}: {name}", archive, "do not trust this archive"
            )
        if not is_folder and "__MACOSX" not in parts:
            yield name, size, entry


def _open(
    opened: zipfile.ZipFile | tarfile.TarFile, member: zipfile.ZipInfo | tarfile.TarInfo
) -> IO[bytes]:
    if isinstance(opened, zipfile.ZipFile):
        assert isinstance(member, zipfile.ZipInfo)
        return opened.open(member)
    assert isinstance(member, tarfile.TarInfo)
    file = opened.extractfile(member)
    assert file is not None  # `_members` yields plain files only
    return file

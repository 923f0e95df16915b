"""Downloads and archives that succeed completely or not at all."""

import errno
import http.client
import logging
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from scwm.core.errors import ScwmError
from scwm.core.files import DISK_ERRORS, file_hash, refusal
from scwm.core.progress import progress
from scwm.data.files import inner_path, new_folder

logger = logging.getLogger(__name__)

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_BLOCK = 1 << 20
_RETRY = frozenset({408, 416, 425, 429, 500, 502, 503, 504})


def fetch(
    urls: Sequence[str],
    target: Path,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    tries: int = 3,
    wait: float = 1.0,
    timeout: float = 60.0,
) -> Path:
    """Download one file from the first of `urls` that delivers it completely.

    The bytes go to `<target>.part`, which is resumed, checked and then renamed.

    Args:
        urls: sources of the same file, in order of preference.
        target: path of the file; an existing file that passes the checks is kept.
        sha256, md5, size: expected values of the file, as far as they are known.
        tries: attempts per source, with a pause of `wait` seconds that doubles each time.
        timeout: seconds without a byte after which a connection counts as broken.

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
    raise ScwmError(
        f"could not download {target.name}:\n  " + "\n  ".join(failures or ["no source given"]),
        target,
        "check the network, or supply the file yourself with --source",
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


def _mismatch(path: Path, expected: dict[str, int | str | None]) -> str | None:
    """Describe the first difference of the file from the expected values; None if it matches."""
    for kind, value in expected.items():
        if value is None:
            continue
        found = path.stat().st_size if kind == "size" else file_hash(path, kind)
        if found != (value.lower() if isinstance(value, str) else value):
            return f"{kind} differs: expected {value}, found {found}"
    return None


def is_archive(path: Path) -> bool:
    """Whether `unpack` reads archives of this name."""
    return path.name.lower().endswith(ARCHIVES) and not path.is_dir()


def unpack(archive: Path, folder: Path, limit: int = 64 << 30) -> Path:
    """Unpack a zip or tar into `folder`, which appears only when it is complete.

    Args:
        archive: the archive.
        folder: the folder to make; an earlier folder of the suite is replaced.
        limit: largest allowed size of the unpacked files, in bytes.

    Raises:
        ScwmError: the archive is broken, cut off or too large, or holds a link or a path that
            leads out of the folder; or the disk refuses a file.
    """
    with new_folder(folder) as temporary:
        extract(archive, temporary, limit)
    return folder


def extract(archive: Path, folder: Path, limit: int = 64 << 30) -> None:
    """Unpack into an existing folder, with the checks and errors of `unpack`."""
    try:
        with _open(archive) as opened:
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
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with _read(opened, member) as source, open(target, "xb") as file:
                    shutil.copyfileobj(source, file, _BLOCK)
                    if file.tell() != size:
                        raise EOFError(f"{name} is {file.tell()} bytes instead of {size}")
    except ScwmError:
        raise
    except Exception as error:  # parsers of broken archives raise many kinds of errors
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise refusal(error, folder) from error
        raise ScwmError(
            f"cannot unpack the archive: {error}",
            archive,
            f"get the archive again; it has {_size(archive)} bytes",
        ) from error


def _size(path: Path) -> str:
    return f"{path.stat().st_size:,}" if path.is_file() else "no"


def _open(archive: Path) -> zipfile.ZipFile | tarfile.TarFile:
    if zipfile.is_zipfile(archive):
        return zipfile.ZipFile(archive)
    try:
        return tarfile.open(archive)
    except tarfile.ReadError:
        raise ValueError("it is neither a zip nor a tar, or is cut off") from None


def _members(
    opened: zipfile.ZipFile | tarfile.TarFile, archive: Path
) -> Iterator[tuple[PurePosixPath, int, zipfile.ZipInfo | tarfile.TarInfo]]:
    """Yield name, size and entry of every file; refuse all but plain files inside the folder."""
    entries: list[tuple[str, int, bool, bool, zipfile.ZipInfo | tarfile.TarInfo]]
    if isinstance(opened, zipfile.ZipFile):
        # The upper half of a zip entry's attributes is its Unix mode: type bits 0o12 are a link.
        entries = [
            (one.filename, one.file_size, one.is_dir(), one.external_attr >> 28 in (0, 4, 8), one)
            for one in opened.infolist()
        ]
    else:
        entries = []
        for one in opened.getmembers():
            plain = one.isdir() or (one.isfile() and not one.issparse())
            entries.append((one.name, one.size, one.isdir(), plain, one))
        assert opened.fileobj is not None
        # Without the block that marks the end, tarfile does not detect a cut file.
        if opened.fileobj.tell() < opened.offset + tarfile.BLOCKSIZE:
            raise EOFError("it is cut off")
        while opened.fileobj.read(_BLOCK):  # to the checksum at the end of a compressed one
            pass
    for name, size, is_folder, plain, entry in entries:
        path = inner_path(name)
        if path is None or not plain:
            kind = "path that leads out of the folder" if path is None else "link or device"
            raise ScwmError(
                f"the archive holds a {kind}: {name}", archive, "do not trust this archive"
            )
        # Python does not see that a zip of Windows, with \\ in its names, means a folder.
        is_folder = is_folder or name.endswith("\\")
        if not is_folder and "__MACOSX" not in path.parts:
            yield path, size, entry


def _read(
    opened: zipfile.ZipFile | tarfile.TarFile, member: zipfile.ZipInfo | tarfile.TarInfo
) -> IO[bytes]:
    if isinstance(opened, zipfile.ZipFile):
        assert isinstance(member, zipfile.ZipInfo)
        return opened.open(member)
    assert isinstance(member, tarfile.TarInfo)
    file = opened.extractfile(member)
    assert file is not None  # `_members` yields plain files only
    return file

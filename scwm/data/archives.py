"""Archives that are unpacked completely or not at all."""

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from scwm.core.errors import ScwmError
from scwm.core.files import DISK_ERRORS, refusal
from scwm.core.progress import progress
from scwm.data.files import inner_path

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_BLOCK = 1 << 20


def is_archive(path: Path) -> bool:
    """Whether the name is one of an archive that `extract` reads, or the file is one."""
    if path.is_dir() or path.name.lower().endswith(ARCHIVES):
        return not path.is_dir()
    return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))


def extract(archive: Path, folder: Path, limit: int = 64 << 30) -> None:
    """Unpack a zip or tar into an existing folder, at most `limit` bytes.

    Raises:
        ScwmError: the archive is broken, cut off or too large, or holds a link or a path that
            leads out of the folder; or the disk refuses a file.
    """
    try:
        with _open(archive) as opened:
            members = list(_members(opened, archive))
            total = sum(size for _, size, _ in members)
            free = shutil.disk_usage(folder).free
            if total > min(limit, free):
                raise ScwmError(
                    f"the archive unpacks to {total:,} bytes; at most {min(limit, free):,} fit",
                    archive,
                    "make room, or unpack the archive yourself and give the folder",
                )
            read: Any = opened.open if isinstance(opened, zipfile.ZipFile) else opened.extractfile
            for name, size, member in progress(members, f"unpack {archive.name}"):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with read(member) as source, open(target, "xb") as file:
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

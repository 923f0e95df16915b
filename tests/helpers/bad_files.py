"""Bad files of every kind, laid out in the working folder."""

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from scwm.core.config import plain, resolve_config
from scwm.data import entries
from scwm.reporting.inputs import READ_OF_RUNS

Prepare = Callable[[pytest.MonkeyPatch], object]
IMAGES = [
    f"{folder}/000{identity}_c{camera}s1_000000_01.png"
    for folder, identity in (("bounding_box_train", 1), ("query", 2), ("bounding_box_test", 2))
    for camera in (1, 2)
]
FIRST = IMAGES[0]


class Ran:
    """What a pickle that runs code would do: make the file `ran`."""

    def __reduce__(self):
        return open, ("ran", "w")


def tree(change: Callable[[Path], object] = lambda root: None, root: str = "tree") -> Prepare:
    """Lay out a data set in Market-1501's layout, then change it."""

    def prepare(patch: pytest.MonkeyPatch) -> None:
        for name in IMAGES:
            write(f"{root}/{name}", image())
        change(Path(root))

    return prepare


def image(width: int = 20, height: int = 40, mode: str = "RGB", kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), 60).save(buffer, kind)
    return buffer.getvalue()


def write(path: str | Path, content: bytes | str) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def file(path: str, content: bytes | str) -> Prepare:
    return lambda patch: write(path, content)


def instead(name: str, content: bytes) -> Prepare:
    """A data set of which one image holds something else."""
    return tree(lambda root: write(root / name, content))


def rename(old: str, new: str) -> Prepare:
    return tree(lambda root: (root / old).rename(root / new))


def zipped(files: dict[str, bytes], link: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if link else 0o100644) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def tarred_link() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("bounding_box_train")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(info)
    return buffer.getvalue()


WHOLE = zipped({f"data/{name}": image() for name in IMAGES})


def csv_rows(*rows: str, columns: str = "path,identity,camera") -> Prepare:
    def prepare(patch: pytest.MonkeyPatch) -> None:
        for name in "ac":
            write(f"crops/{name}.png", image())
        write("crops/images.csv", "\n".join([columns, *rows, ""]))

    return prepare


def msmt(line: bytes) -> Prepare:
    """MSMT17 with one line in its list of training images."""

    def prepare(patch: pytest.MonkeyPatch) -> None:
        for name in ("train", "val", "query", "gallery"):
            write(f"msmt/list_{name}.txt", b"0000/0000_000_01_a.jpg 0\n")
        for name in ("train", "test"):
            write(f"msmt/{name}/0000/0000_000_01_a.jpg", image(kind="jpeg"))
        write("msmt/list_train.txt", line)

    return prepare


def run_config(change: Callable[[dict], object] | str | bytes = lambda config: None) -> Prepare:
    """The config of a run, changed or as a text of its own."""

    def prepare(patch: pytest.MonkeyPatch) -> None:
        if not callable(change):
            return write("run/config.yaml", change)
        settings = {"model": {"image_size": [64, 32]}}
        config = plain(resolve_config("random_features", "toy", 0, settings))
        change(config)
        write("run/config.yaml", yaml.safe_dump(config))

    return prepare


def damaged_store(name: str, content: bytes | None) -> Prepare:
    """The toy store with a file replaced, or cut in half where there is no content."""

    def prepare(patch: pytest.MonkeyPatch) -> None:
        run_config()(patch)
        whole = Path("toy", name).read_bytes()
        shutil.copytree("toy", "damaged")
        write(f"damaged/{name}", whole[: len(whole) // 2] if content is None else content)

    return prepare


def model(content: bytes) -> Prepare:
    return lambda patch: (run_config()(patch), write("run/model.pt", content))


def finished_run(content: str) -> Prepare:
    """A run of which every file holds that."""
    return lambda patch: [write(f"d/m/seed0/{name}", content) for name in READ_OF_RUNS]


def registry(text: str) -> Prepare:
    def prepare(patch: pytest.MonkeyPatch) -> None:
        tree()(patch)
        write("datasets/toy.yaml", f"title: Toy\nlayout: market1501\n{text}")
        write("datasets/b.yaml", "title: B")
        patch.setattr(entries, "CONFIG_DIR", Path().absolute())

    return prepare


def small_disk(module: object, prepare: Prepare) -> Prepare:
    def fill(patch: pytest.MonkeyPatch) -> None:
        prepare(patch)
        patch.setattr(module, "shutil", FullDisk())

    return fill


class FullDisk:
    """`shutil` on a disk with nine bytes left."""

    def disk_usage(self, path: Path) -> object:
        return shutil._ntuple_diskusage(100, 91, 9)

    def __getattr__(self, name: str) -> object:
        return getattr(shutil, name)


def environment(name: str, value: str) -> Prepare:
    return lambda patch: patch.setenv(name, value)


def objects() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Ran()], object), allow_pickle=True)
    return buffer.getvalue()

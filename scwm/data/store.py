"""Images decoded once into memory-mapped uint8 arrays with an index.

A store is a folder: `images.npy` uint8 (N,H,W,3) RGB, `masks.npy` uint8 (N,H,W) if the data set has
masks, `index.csv` (row, split, path, id, camera) and `store.json`. Its rows hold train, query and
gallery, one after the other.
"""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scwm.core.errors import ScwmError
from scwm.core.progress import progress
from scwm.data.files import new_folder
from scwm.data.images import decode, read_image
from scwm.data.types import Dataset

_INDEX = ("row", "split", "path", "id", "camera")
_HASH_ROWS = 256
_NO_STORE = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


@dataclass(frozen=True, eq=False)
class StoreSplit:
    """One split of a store: N images.

    Attributes:
        images: (N,H,W,3) uint8 RGB, memory-mapped.
        ids: (N,) int64, -1 = unknown.
        cameras: (N,) int64; an image of an unknown camera has a negative one of its own.
        paths: N paths relative to the data set's root.
        masks: (N,H,W) uint8 true part indices, memory-mapped, or None.
    """

    images: np.ndarray
    ids: np.ndarray
    cameras: np.ndarray
    paths: list[str]
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.paths)


class ImageStore:
    """A store on disk, opened for reading.

    Raises:
        ScwmError: the folder holds no store, or its files do not match each other.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        try:
            self.info: dict[str, Any] = json.loads((self.folder / "store.json").read_text())
            self._images = np.load(self.folder / "images.npy", mmap_mode="r")
            masks = self.folder / "masks.npy"
            self._masks = np.load(masks, mmap_mode="r") if self.info["masks"] else None
            with open(self.folder / "index.csv", newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file, strict=True))
            if rows and None in rows[-1].values():
                raise ValueError(f"index.csv is cut off in row {len(rows)}")
            self._ids, self._cameras = (
                np.array([row[key] for row in rows], dtype=np.int64) for key in ("id", "camera")
            )
            self._paths = [row["path"] for row in rows]
            count = sum(self.info["counts"].values())
            height, width = self.image_size
        except (*_NO_STORE, csv.Error) as error:
            raise ScwmError(
                f"not an image store: {error}", self.folder, "build it with `scwm data store`"
            ) from error
        arrays = [array for array in (self._images, self._masks) if array is not None]
        if any(array.shape[:3] != (count, height, width) for array in arrays):
            raise ScwmError(
                f"store.json lists {count} images of {self.image_size}, the arrays hold "
                f"{[array.shape for array in arrays]}",
                self.folder,
                "build it again with `scwm data store`",
            )
        if len(self._paths) != count:
            raise ScwmError(
                f"index.csv lists {len(self._paths)} images, the arrays hold {count}",
                self.folder,
                "build it again with `scwm data store`",
            )

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.info["image_size"]
        return height, width

    def split(self, name: str) -> StoreSplit:
        """Return the images of `train`, `query` or `gallery`."""
        counts = self.info["counts"]
        if name not in counts:
            raise ScwmError(f"no split {name!r} in the store", self.folder, f"one of {[*counts]}")
        names = list(counts)
        start = sum(counts[other] for other in names[: names.index(name)])
        part = slice(start, start + counts[name])
        return StoreSplit(
            self._images[part],
            self._ids[part],
            self._cameras[part],
            self._paths[part],
            None if self._masks is None else self._masks[part],
        )


def build_store(
    dataset: Dataset,
    folder: Path,
    image_size: tuple[int, int],
    code_hash: str = "",
) -> ImageStore:
    """Decode a data set into a store; the folder appears, or is replaced, only when complete.

    Images are resized with Pillow's antialiased bicubic filter, masks to the nearest pixel.

    Args:
        dataset: the result of `load_dataset`.
        folder: the store's folder.
        image_size: height and width.
        code_hash: hash of the sources that make it, for its record; "" if they are unknown.

    Raises:
        ScwmError: an image or mask cannot be decoded, a mask's size differs from its image's or
            it holds a value without a name.
    """
    height, width = image_size
    splits = dataset.splits
    paths = [path for split in splits.values() for path in split.paths]
    masks = [path for split in splits.values() for path in split.masks or ()]
    if masks and len(masks) != len(paths):
        raise ScwmError(f"{dataset.name}: masks in some splits only", dataset.root)
    root = dataset.root
    with new_folder(folder, store=True) as temporary:
        # A memory-mapped file that outgrows the disk would end the process without a message.
        needed = (3 * len(paths) + len(masks)) * height * width
        if needed > (free := shutil.disk_usage(temporary).free):
            raise ScwmError(
                f"the store needs {needed:,} bytes, {free:,} are free", folder, "make room there"
            )
        with open(temporary / "index.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_INDEX)
            row = 0
            for name, split in splits.items():
                for path, identity, camera in zip(
                    split.paths, split.ids, split.cameras, strict=True
                ):
                    relative = Path(os.path.relpath(path, root)).as_posix()
                    writer.writerow([row, name, relative, identity, camera])
                    row += 1

        pixels = np.lib.format.open_memmap(
            temporary / "images.npy", "w+", np.uint8, (len(paths), height, width, 3)
        )

        arrays = [pixels]
        if masks:
            parts = np.lib.format.open_memmap(
                temporary / "masks.npy", "w+", np.uint8, (len(masks), height, width)
            )
            arrays.append(parts)

        def fill(row: int) -> None:
            image = read_image(paths[row])
            pixels[row] = image.resize((width, height), Image.Resampling.BICUBIC)
            if masks:
                mask = _read_mask(masks[row], image.size, len(dataset.mask_parts))
                parts[row] = mask.resize((width, height), Image.Resampling.NEAREST)

        _in_threads(fill, range(len(paths)), f"decode {dataset.name}")
        for array in arrays:
            array.flush()
        info = {
            "dataset": dataset.name,
            "note": dataset.note,
            "image_size": [height, width],
            "counts": {name: len(split) for name, split in splits.items()},
            "masks": bool(masks),
            "mask_parts": list(dataset.mask_parts),
            "resize": "bicubic",
            "code_hash": code_hash,
            "content_hash": _content_hash(temporary / "index.csv", arrays),
        }
        (temporary / "store.json").write_text(json.dumps(info, indent=2) + "\n")
    return ImageStore(folder)


def _in_threads(work: Callable[[int], None], rows: Sequence[int], title: str) -> None:
    # A job of SLURM may use fewer cores than there are.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        try:
            for _ in progress(pool.map(work, rows), title, total=len(rows)):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _read_mask(path: Path, size: tuple[int, int], parts: int) -> Image.Image:
    """Read the mask of an image of `size`, width and height."""
    mask = decode(path)
    if mask.mode not in ("L", "P") or mask.size != size:
        raise ScwmError(
            f"a mask must have one 8-bit channel and its image's size: {mask.mode} {mask.size}, "
            f"image {size}",
            path,
            "supply the mask again",
        )
    values = np.asarray(mask)
    if values.max() > parts:
        raise ScwmError(
            f"mask value {values.max()} with {parts} named parts", path, "name it in mask_parts"
        )
    return Image.fromarray(values)


def _content_hash(index: Path, arrays: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256(index.read_bytes())
    for array in arrays:
        digest.update(str(array.shape).encode())
        for start in progress(range(0, len(array), _HASH_ROWS), "hash"):
            digest.update(np.ascontiguousarray(array[start : start + _HASH_ROWS]).data)
    return digest.hexdigest()

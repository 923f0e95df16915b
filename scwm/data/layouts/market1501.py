"""The Market-1501 layout: `<identity>_c<camera>….jpg` in three folders, one per split.

Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015. PersonX, the rendered
`mannequins` and Market-style copies of MSMT17 use the same layout.
"""

import re
from pathlib import Path

import numpy as np

from scwm.core.errors import ScwmError
from scwm.data.files import find_root, list_images
from scwm.data.types import Dataset, Split

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
MASKS = "masks"
JUNK = -1
NAME = re.compile(r"(-1|\d{1,18})_c(\d{1,18})(?!\d)", re.ASCII)


def parse_name(path: Path) -> tuple[int, int]:
    """Parse identity and camera from a file name such as `0002_c1s1_000451_03.jpg`.

    Raises:
        ScwmError: the name has another form.
    """
    match = NAME.match(path.name)
    if match is None:
        raise ScwmError(
            "image name without identity and camera",
            path,
            "Market naming is <identity>_c<camera>…, e.g. 0002_c1s1_000451_03.jpg (-1 for junk)",
        )
    return int(match[1]), int(match[2])


def read_folder(folder: Path, masks: Path | None = None) -> Split:
    """Read one split from a folder in Market naming, sorted by name, without junk (identity -1).

    Args:
        folder: the images.
        masks: a folder of `<stem>.png` part masks, one for each image.

    Raises:
        ScwmError: the folder is absent or holds no image, a name has another form, or a mask
            is missing.
    """
    if not folder.is_dir():
        raise ScwmError("missing folder of images", folder, "check the data set's source")
    named = [(path, *parse_name(path)) for path in list_images(folder)]
    kept = [item for item in named if item[1] != JUNK]
    if not kept:
        raise ScwmError("no images in the split", folder, "unpack the data set again")
    paths, ids, cameras = zip(*kept, strict=True)
    mask_paths = None
    if masks is not None:
        mask_paths = tuple(masks / f"{path.stem}.png" for path in paths)
        present = {path.name for path in list_images(masks)} if masks.is_dir() else set()
        for path in mask_paths:
            if path.name not in present:
                raise ScwmError(
                    "image without a mask", path, "supply a mask for every image or for none"
                )
    return Split(paths, np.array(ids, np.int64), np.array(cameras, np.int64), mask_paths)


def load(
    source: Path, name: str, mask_parts: tuple[str, ...] = (), development: bool = False
) -> Dataset:
    """Read a data set in Market-1501's layout.

    Args:
        source: its folder, or a folder that holds it (as `Market-1501-v15.09.15/`).
        name: the data set's name.
        mask_parts: names of the mask values 1, 2, … if a folder `masks/` exists.
        development: read only the training folder, and make all splits of it: see `halves`.

    Raises:
        ScwmError: a folder is missing or empty, or a name has another form.
    """
    folders = tuple(FOLDERS.values())[: 1 if development else None]
    root = find_root(source, folders, f"{name} (Market-1501 layout)")
    masks = root / MASKS if (root / MASKS).is_dir() else None
    splits = [read_folder(root / folder, masks and masks / folder) for folder in folders]
    train, query, gallery = halves(splits[0]) if development else splits
    return Dataset(name, train, query, gallery, mask_parts=tuple(mask_parts) if masks else ())


def halves(images: Split) -> tuple[Split, Split, Split]:
    """Split training images into training, query and gallery images of development data.

    Of the sorted identities, those at even positions (from 0) train. Of the others, the first
    image of each identity in each camera is a query; the rest is the gallery.
    """
    trains = np.isin(images.ids, np.unique(images.ids)[::2])
    test = images.select(~trains)
    asked = test.firsts()
    return images.select(trains), test.select(asked), test.select(~asked)

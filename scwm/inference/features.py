"""The user's own crops: searched in folders, and embedded one batch at a time."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scwm.core.errors import ScwmError
from scwm.data.files import IMAGE_SUFFIXES, check_name, list_images
from scwm.inference.api import Model, default_feature, extracted, stacked


@dataclass(frozen=True, eq=False)
class CropFeatures:
    """Features of the N crops that could be read.

    Attributes:
        files: N image files.
        features: (N,D) float32, L2-normalised.
        feature: global, parts or both.
        unreadable: the error of each file that could not be read.
    """

    files: list[Path]
    features: np.ndarray
    feature: str
    unreadable: tuple[ScwmError, ...] = ()


def find_crops(paths: Sequence[Path]) -> list[Path]:
    """List the files among `paths`, and the images in folders among them and in subfolders, once.

    The files of a folder are sorted and precede those of its subfolders. Hidden files are skipped.
    Links to folders are followed.

    Raises:
        ScwmError: a path does not exist, a folder cannot be read or has no images, or a name is not
            UTF-8.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ScwmError("There is no such file or folder.", path, "check the path")
        check_name(path)
        found = list_images(path, below=True) if path.is_dir() else [path]
        if not found:
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            raise ScwmError("The folder holds no images.", path, f"give one with {kinds} files")
        files += found
    unique: dict[str, Path] = {}
    for file in files:
        unique.setdefault(os.path.abspath(file), file)
    return list(unique.values())


def crop_features(
    model: Model, files: Sequence[Path], feature: str | None = None, strict: bool = False
) -> CropFeatures:
    """Extract features of image files as `scwm.extract`, and collect unreadable files.

    Args:
        model: the model.
        files: N image files.
        feature: global | parts | both; default: the run's own.
        strict: raise an error for an unreadable file.

    Raises:
        ScwmError: no file can be read, or with `strict` one cannot.
    """
    feature = default_feature(model, feature)
    unreadable: dict[int, ScwmError] = {}
    kept = None if strict else unreadable
    features = stacked(extracted(model, files, feature, kept), len(files))
    if not len(features):
        raise ScwmError(
            f"None of {len(files)} images could be read. The first:\n{unreadable[0]}",
            remedy="give files that Pillow can open",
        )
    read = [file for row, file in enumerate(files) if row not in unreadable]
    return CropFeatures(read, features, feature, tuple(unreadable.values()))

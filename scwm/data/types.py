"""The result of a loader: three splits of image paths with their identities and cameras."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Split:
    """N images.

    Attributes:
        paths: N image files.
        ids: (N,) int64 identities; 0 is a distractor if the protocol of the data set has any, -1
            is unknown.
        cameras: (N,) int64 cameras, numbered as in the file names; -1 is unknown.
        masks: N PNG files of the images' sizes, value = true part index, 0 = background;
            None if the data set has no masks.
    """

    paths: tuple[Path, ...]
    ids: np.ndarray
    cameras: np.ndarray
    masks: tuple[Path, ...] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def firsts(self) -> np.ndarray:
        """Mark the first image of each identity in each camera: boolean (N,)."""
        pairs = np.stack([self.ids, self.cameras], 1)
        first = np.zeros(len(self), bool)
        first[np.unique(pairs, axis=0, return_index=True)[1]] = True
        return first

    def select(self, keep: np.ndarray) -> "Split":
        """Select the images where `keep`, a boolean (N,) array, is true."""
        rows = np.flatnonzero(keep)
        return Split(
            tuple(self.paths[row] for row in rows),
            self.ids[rows],
            self.cameras[rows],
            None if self.masks is None else tuple(self.masks[row] for row in rows),
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set under its protocol.

    Attributes:
        name: its name, a file of `config/datasets/`.
        train, query, gallery: its splits.
        note: differences of its protocol, shown with every result ("" for the standard one).
        mask_parts: names of the mask values 1, 2, …; empty without masks.
        lists: files that assign images to splits, if there are any.
    """

    name: str
    train: Split
    query: Split
    gallery: Split
    note: str = ""
    mask_parts: tuple[str, ...] = ()
    lists: tuple[Path, ...] = ()

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name, in the order of the store's rows."""
        return {"train": self.train, "query": self.query, "gallery": self.gallery}

    @property
    def root(self) -> Path:
        """The deepest folder that holds every image."""
        folders = {path.parent for split in self.splits.values() for path in split.paths}
        relative = all(not folder.is_absolute() for folder in folders)
        return Path(os.path.commonpath(folders if relative else map(os.path.abspath, folders)))

    def first_identities(self, train_ids: int, test_ids: int) -> "Dataset":
        """Select the first identities in sorted order, without distractors: an easier protocol."""
        train = np.unique(self.train.ids)[:train_ids]
        test = np.unique(self.query.ids)[:test_ids]
        note = (
            f"easier protocol: first {len(train)} training and first {len(test)} test identities, "
            "no distractors in the gallery"
        )
        return replace(
            self,
            train=self.train.select(np.isin(self.train.ids, train)),
            query=self.query.select(np.isin(self.query.ids, test)),
            gallery=self.gallery.select(np.isin(self.gallery.ids, test)),
            note="; ".join(filter(None, [self.note, note])),
        )

"""Data: registry of data sets, loaders, decoded stores, samplers and augmentation."""

from scwm.data.augment import Augment, Draws
from scwm.data.entries import data_names
from scwm.data.registry import get_dataset, load_dataset, resolve_source
from scwm.data.sampler import identity_batches
from scwm.data.store import ImageStore, StoreSplit, build_store
from scwm.data.types import Dataset, Split

__all__ = [
    "Augment",
    "Dataset",
    "Draws",
    "ImageStore",
    "Split",
    "StoreSplit",
    "build_store",
    "data_names",
    "get_dataset",
    "identity_batches",
    "load_dataset",
    "resolve_source",
]

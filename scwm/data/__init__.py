"""Data: registry of data sets, loaders, decoded stores, samplers and augmentation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scwm.data.augment import Augment, Draws
    from scwm.data.entries import data_names
    from scwm.data.registry import get_dataset, load_dataset, resolve_source
    from scwm.data.sampler import identity_batches
    from scwm.data.store import ImageStore, StoreSplit, build_store
    from scwm.data.types import Dataset, Split

_MODULES = {
    "Augment": "augment",
    "Dataset": "types",
    "Draws": "augment",
    "ImageStore": "store",
    "Split": "types",
    "StoreSplit": "store",
    "build_store": "store",
    "data_names": "entries",
    "get_dataset": "registry",
    "identity_batches": "sampler",
    "load_dataset": "registry",
    "resolve_source": "registry",
}
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


def __getattr__(name: str) -> Any:
    """Import a name on first use: rendering images needs no deep-learning package."""
    if name not in _MODULES:
        raise AttributeError(f"module 'scwm.data' has no attribute '{name}'")
    return getattr(import_module(f"scwm.data.{_MODULES[name]}"), name)

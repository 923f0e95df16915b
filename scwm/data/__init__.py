"""Data: registry of data sets, loaders, decoded stores, samplers and augmentation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scwm.data.entries import data_names
    from scwm.data.registry import get_dataset, load_dataset
    from scwm.data.store import ImageStore, build_store
    from scwm.data.types import Dataset, Split

_MODULES = {
    "Dataset": "types",
    "ImageStore": "store",
    "Split": "types",
    "build_store": "store",
    "data_names": "entries",
    "get_dataset": "registry",
    "load_dataset": "registry",
}
__all__ = [
    "Dataset",
    "ImageStore",
    "Split",
    "build_store",
    "data_names",
    "get_dataset",
    "load_dataset",
]


def __getattr__(name: str) -> Any:
    """Import a name on first use: rendering images needs no deep-learning package."""
    if name not in _MODULES:
        raise AttributeError(f"module 'scwm.data' has no attribute '{name}'")
    return getattr(import_module(f"scwm.data.{_MODULES[name]}"), name)

"""A benchmark suite for unsupervised person re-identification around SCWM (arXiv 2403.00261)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scwm.inference.api import Model, extract, load_model, parse, rank

__all__ = ["Model", "extract", "load_model", "parse", "rank"]


def __getattr__(name: str) -> Any:
    """The library's calls, loaded on first use: reading a config needs no deep-learning package."""
    if name not in __all__:
        raise AttributeError(f"module 'scwm' has no attribute '{name}'")
    from scwm.inference import api

    return getattr(api, name)

"""Packages that only some commands need."""

from importlib import import_module
from typing import Any

from scwm.errors import ScwmError


def optional_module(name: str, package: str, otherwise: str = "") -> Any:
    """The module `name` of a package that the suite does not install by itself.

    Args:
        package: as pip names it.
        otherwise: what else the user may do.

    Raises:
        ScwmError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        remedy = ", ".join(filter(None, [f"pip install {package}", otherwise]))
        raise ScwmError(f"The package {error.name or name} is needed.", remedy=remedy) from error

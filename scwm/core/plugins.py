"""Modules that are found by their file name, so that a new one needs no list.

docs/contributing.md describes the content of each kind of module.
"""

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from scwm.core.errors import ScwmError, suggest

PACKAGE = Path(__file__).resolve().parents[1]
NAME = "[a-z0-9_]+"
"""What a module, a data set or a method may be called: it becomes the name of a file or folder."""
MEMBER = r"[a-z0-9_]+(?:\.[a-z0-9_]+)?"
"""What one of a family may be called."""


@dataclass(frozen=True)
class Kind:
    """One kind of modules, which share a folder.

    Attributes:
        what: the kind's name in messages.
        folder: the folder below scwm/.
        function: the function that each module defines.
        default: the name that ``true`` means, if the setting may also be a switch.
        family: name of many more, as ``FAMILY/NAME``, which `named` of the module _FAMILY gives.
    """

    what: str
    folder: str
    function: str
    default: str = ""
    family: str = ""

    @property
    def pattern(self) -> str:
        """A regular expression of all names."""
        return f"{NAME}|{self.family}/{MEMBER}" if self.family else NAME

    def member(self, value: object) -> str:
        """Return NAME of a value ``FAMILY/NAME``, "" of any other."""
        found = self.family and re.fullmatch(f"{self.family}/({MEMBER})", str(value))
        return found[1] if found else ""

    def names(self) -> list[str]:
        """List the names of the modules, without files that begin with ``_``."""
        files = (PACKAGE / self.folder).glob("*.py")
        return sorted(path.stem for path in files if not path.stem.startswith("_"))

    def allows(self, value: object) -> bool:
        """Whether a setting may be `value`: a name, or a switch if there is a default."""
        return (
            (isinstance(value, bool) and bool(self.default))
            or value in self.names()
            or bool(self.member(value))
        )

    def choices(self) -> list[str]:
        """List the allowed values, as YAML writes them."""
        switch = ["true", "false"] if self.default else []
        return [*switch, *self.names(), *([f"{self.family}/NAME"] if self.family else [])]

    def file(self, value: str | bool) -> str:
        """Return the file, below scwm/, of the module that a setting names.

        Raises:
            ScwmError: no module has that name.
        """
        if self.member(value):
            return f"{self.folder}/_{self.family}.py"
        name = self.default if value is True else value
        if name not in (known := self.names()):
            raise ScwmError(
                f"Unknown {self.what} '{name}'.{suggest(name, known)}",
                f"scwm/{self.folder}",
                "choose one of: " + ", ".join(known),
            )
        return f"{self.folder}/{name}.py"

    def load(self, value: str | bool) -> Any:
        """Import the module that a setting names; of a family, what stands for one.

        Raises:
            ScwmError: no module has that name, or it lacks the kind's function.
        """
        file = self.file(value)
        module = import_module("scwm." + file.removesuffix(".py").replace("/", "."))
        if member := self.member(value):
            return module.named(member)
        if not callable(getattr(module, self.function, None)):
            raise ScwmError(
                f"The {self.what} '{Path(file).stem}' does not define `{self.function}`.",
                f"scwm/{file}",
                "docs/contributing.md describes what each kind of module defines",
            )
        return module


BACKBONES = Kind("backbone", "models/backbones", "build", family="timm")
LAYOUTS = Kind("layout", "data/layouts", "load")
CLUSTERINGS = Kind("clustering", "method/pseudo_labels/clusterings", "cluster")
STRATEGIES = Kind("memory strategy", "method/strategies", "weights")
FOREGROUND_CORRECTIONS = Kind(
    "foreground correction",
    "method/parsing/foreground_corrections",
    "correct_foreground",
    default="log_odds",
)
SPACE_CORRECTIONS = Kind(
    "space correction", "method/parsing/space_corrections", "cluster_parts", default="body_rows"
)
KINDS = (
    BACKBONES,
    LAYOUTS,
    CLUSTERINGS,
    STRATEGIES,
    FOREGROUND_CORRECTIONS,
    SPACE_CORRECTIONS,
)


def optional_module(name: str, package: str, otherwise: str = "") -> Any:
    """Import the module `name` of a package that the suite does not install.

    Args:
        package: name of the package for pip.
        otherwise: another remedy for the user.

    Raises:
        ScwmError: the package is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        remedy = ", ".join(filter(None, [f"pip install {package}", otherwise]))
        raise ScwmError(f"The package {error.name or name} is needed.", remedy=remedy) from error

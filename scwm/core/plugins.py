"""Modules that are found by their file name, so that a new one needs no list.

docs/contributing.md describes the content of each kind of module.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from scwm.core.errors import ScwmError, suggest

PACKAGE = Path(__file__).resolve().parents[1]
NAME = "[a-z0-9_]+"
"""What a module, a data set or a method may be called: it becomes the name of a file or folder."""


@dataclass(frozen=True)
class Kind:
    """One kind of modules, which share a folder.

    Attributes:
        what: the kind's name in messages.
        folder: the folder below scwm/.
        function: the function that each module defines.
        default: the name that ``true`` means, if the setting may also be a switch.
    """

    what: str
    folder: str
    function: str
    default: str = ""

    def names(self) -> list[str]:
        """List the names of the modules, without files that begin with ``_``."""
        files = (PACKAGE / self.folder).glob("*.py")
        return sorted(path.stem for path in files if not path.stem.startswith("_"))

    def allows(self, value: object) -> bool:
        """Whether a setting may be `value`: a name, or a switch if there is a default."""
        return (isinstance(value, bool) and bool(self.default)) or value in self.names()

    def choices(self) -> list[str]:
        """List the allowed values, as YAML writes them."""
        return [*(("true", "false") if self.default else ()), *self.names()]

    def file(self, value: str | bool) -> str:
        """Return the file, below scwm/, of the module that a setting names.

        Raises:
            ScwmError: no module has that name.
        """
        name = self.default if value is True else value
        if name not in (known := self.names()):
            raise ScwmError(
                f"Unknown {self.what} '{name}'.{suggest(name, known)}",
                f"scwm/{self.folder}",
                "choose one of: " + ", ".join(known),
            )
        return f"{self.folder}/{name}.py"

    def load(self, value: str | bool) -> ModuleType:
        """Import the module that a setting names.

        Raises:
            ScwmError: no module has that name, or it lacks the kind's function.
        """
        file = self.file(value)
        module = import_module("scwm." + file.removesuffix(".py").replace("/", "."))
        if not callable(getattr(module, self.function, None)):
            raise ScwmError(
                f"The {self.what} '{Path(file).stem}' does not define `{self.function}`.",
                f"scwm/{file}",
                "docs/contributing.md describes what each kind of module defines",
            )
        return module


BACKBONES = Kind("backbone", "models/backbones", "build")
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

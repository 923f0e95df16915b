"""Modules that are found by their file's name: nothing lists them, a new one is one file.

docs/contributing.md says what a module of each kind holds.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from scwm.core.errors import ScwmError, suggest

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Kind:
    """One kind of modules, those in one folder.

    Attributes:
        what: the kind's name in messages.
        folder: below scwm/.
        default: what ``true`` stands for, where a setting may also be a switch.
    """

    what: str
    folder: str
    default: str = ""

    def names(self) -> list[str]:
        """Every module's name; files that begin with ``_`` are none."""
        files = (PACKAGE / self.folder).glob("*.py")
        return sorted(path.stem for path in files if not path.stem.startswith("_"))

    def allows(self, value: object) -> bool:
        """Whether a setting may be `value`: a name, or a switch where there is a default."""
        return (isinstance(value, bool) and bool(self.default)) or value in self.names()

    def choices(self) -> list[str]:
        """All that `allows` does, as YAML writes it."""
        return [*(("true", "false") if self.default else ()), *self.names()]

    def file(self, value: str | bool) -> str:
        """The file, below scwm/, of the module that a setting names.

        Raises:
            ScwmError: there is none of that name.
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
        """The module that a setting names; raises as `file` does."""
        return import_module("scwm." + self.file(value).removesuffix(".py").replace("/", "."))


BACKBONES = Kind("backbone", "models/backbones")
LAYOUTS = Kind("layout", "data/layouts")
STRATEGIES = Kind("memory strategy", "method/strategies")
FOREGROUND_CORRECTIONS = Kind(
    "foreground correction", "method/parsing/foreground_corrections", default="log_odds"
)
SPACE_CORRECTIONS = Kind(
    "space correction", "method/parsing/space_corrections", default="body_rows"
)
KINDS = (BACKBONES, LAYOUTS, STRATEGIES, FOREGROUND_CORRECTIONS, SPACE_CORRECTIONS)


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

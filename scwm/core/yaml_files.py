"""Read YAML strictly; the folder of the suite's own YAML files."""

import re
from pathlib import Path
from typing import Any

import yaml

from scwm.core.errors import ScwmError

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT, _INSTALLED = _PACKAGE.parent / "config", _PACKAGE / "_config"
CONFIG_DIR = _CHECKOUT if (_CHECKOUT / "methods").is_dir() else _INSTALLED


def names_in(folder: Path) -> list[str]:
    """List the names of the YAML files in a folder of `CONFIG_DIR`.

    Raises:
        ScwmError: there is none.
    """
    found = sorted(path.stem for path in folder.glob("*.yaml"))
    if not found:
        raise ScwmError("The installation lacks its configuration.", folder, "install scwm again")
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; a missing or broken file is a ScwmError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ScwmError(
            f"Cannot read the file: {error.strerror}.", path, "check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise ScwmError(f"Not a text in UTF-8: {error}", path, "give a YAML file") from error
    content = parse_yaml(text, path)
    if not isinstance(content, dict):
        raise ScwmError("Expected a mapping of keys to values.", path, "write lines `key: value`")
    return content


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses a repeated key, of which YAML would silently keep the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in seen:
            problem = f"the key '{key.value}' stands twice"
            raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        seen.add(str(key.value))
    loader.flatten_mapping(node)
    mapping: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return mapping


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
# YAML 1.1 takes 1e-4 for text, as its mantissa has no point.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse_yaml(text: str, where: object) -> Any:
    """Read a YAML text; any mistake in it is a ScwmError."""
    try:
        return yaml.load(text, _Loader)
    except Exception as error:  # PyYAML lets those of its converters through, as of a 13th month
        remedy = "correct it, or put the value in quotes"
        raise ScwmError(f"Not valid YAML: {error}", where, remedy) from error

"""The source files that a result depends on, found by their imports."""

import ast
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from scwm.core.errors import ScwmError
from scwm.core.files import file_hash

PACKAGE = Path(__file__).resolve().parents[1]
DECLARED = "core/settings.py"  # decides the values in a run's config, on which the run depends


@cache
def imports(file: str, package: Path = PACKAGE) -> frozenset[str]:
    """List the files of the package that one of its files imports, also within a function.

    A name that a package's ``__init__.py`` exports counts as an import of that file. In Python or
    in a template, a quoted path of an HTML template below `package` counts as an import of it.

    Args:
        file: path of a Python or HTML file below `package`, like the returned paths.
    """
    text = (package / file).read_text(encoding="utf-8")
    found = {name for name in re.findall(r'"([\w/]+\.html)"', text) if (package / name).is_file()}
    if file.endswith(".html"):
        return frozenset(found)
    for node in ast.walk(ast.parse(text, file)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            near = ["scwm", *Path(file).parts[: -node.level]] if node.level else []
            start = ".".join([*near, *([node.module] if node.module else [])])
            names = [f"{start}.{alias.name}" for alias in node.names]
        for name in names:
            top, *rest = name.split(".")
            while top == "scwm":
                target = "/".join(rest)
                inside = [f"{target}.py", f"{target}/__init__.py".removeprefix("/")]
                if known := [path for path in inside if (package / path).is_file()]:
                    found.add(known[0])
                    break
                rest.pop()
    return frozenset(found - {file})


def sources(patterns: Iterable[str]) -> list[str]:
    """List the files that match globs and all files that these import, directly or indirectly.

    The declaration of the settings is left out, as a run's config holds the values.

    No file imports the modules that are found by their name. List the modules that a config names
    as well (`scwm.core.config.named_modules`).

    Args:
        patterns: globs below the package; the returned paths, sorted, are also below it.

    Raises:
        ScwmError: a pattern matches no file.
    """
    files: set[str] = set()
    for pattern in patterns:
        matched = [path for path in PACKAGE.glob(pattern) if path.is_file()]
        own = [path for path in matched if "__pycache__" not in path.parts]
        if not own:
            raise ScwmError(f"No source matches scwm/{pattern}.", remedy="correct the pattern")
        files.update(path.relative_to(PACKAGE).as_posix() for path in own)
    pending = set(files)
    while pending:
        found: set[str] = set()
        for file in pending:
            if file.endswith((".py", ".html")):
                found |= imports(file) - {DECLARED}
        pending = found - files
        files |= pending
    return sorted(files)


def code_hash(patterns: Iterable[str]) -> str:
    """Return the first 16 hex digits of a hash over the sources of a result (see `sources`)."""
    hashes = [f"{file} {file_hash(PACKAGE / file)}\n" for file in sources(patterns)]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]

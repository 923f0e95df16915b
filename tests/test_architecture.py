"""Imports go one way, layer by layer, as docs/architecture.md draws them."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from scwm.named import KINDS, LAYOUTS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| (`[^|]+) \|$", PAGE.partition("## Layers")[2], re.M)
LAYERS = [(name, re.findall(r"`([^`]+)`", files)) for name, files in ROWS]


def layers_of(file: str) -> list[int]:
    """Numbers of the layers that name a file below scwm/, or a folder it is in."""
    parts = [f"{parent}/" for parent in Path(file).parents] + [file]
    return [n for n, (_, files) in enumerate(LAYERS) if set(files) & set(parts)]


def imports(package: Path, file: str) -> set[str]:
    """Files of the package that one of its files imports, relative to it."""
    found = set()
    for node in ast.walk(ast.parse((package / file).read_text())):
        names = []
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
    return found - {file}


def wrong_imports(package: Path) -> list[str]:
    """Imports from a layer below the file's own, and of modules that are found by name."""
    wrong = []
    folders = [kind.folder for kind in KINDS if kind is not LAYOUTS]
    for path in sorted(package.rglob("*.py")):
        file = path.relative_to(package).as_posix()
        (own,) = layers_of(file)
        for other in sorted(imports(package, file)):
            (its,) = layers_of(other)
            if its > own:
                wrong.append(f"{file} ({LAYERS[own][0]}) imports {other} ({LAYERS[its][0]})")
            if str(Path(other).parent) in folders and not other.endswith("__init__.py"):
                wrong.append(f"{file} imports {other}, which is found by its name")
    return wrong


def test_every_file_is_in_one_layer():
    files = [path.relative_to(ROOT / "scwm").as_posix() for path in (ROOT / "scwm").rglob("*.py")]
    assert len(files) > 100 and len(LAYERS) > 5
    assert {file: len(layers_of(file)) for file in files} == dict.fromkeys(files, 1)


def test_imports_go_one_way():
    assert wrong_imports(ROOT / "scwm") == []


@pytest.mark.parametrize(
    ("file", "line", "told"),
    [
        ("errors.py", "from scwm.config import Config", "basics"),
        ("data/sampler.py", "def f():\n    import scwm.reporting.tables", "reporting/tables.py"),
        ("memory.py", "from scwm import training", "training.py"),
        ("memory.py", "from scwm import load_model", "__init__.py"),
        ("evaluation/ranking.py", "from scwm.reporting import TABLES", "reporting/__init__.py"),
        ("memory.py", "from scwm.strategies.uniform import weights", "found by its name"),
    ],
)
def test_an_import_the_wrong_way_is_seen(tmp_path, file, line, told):
    ignored = shutil.ignore_patterns("__pycache__", "*.npz")
    package = shutil.copytree(ROOT / "scwm", tmp_path / "scwm", ignore=ignored)
    with (package / file).open("a") as source:
        source.write(f"\n\n{line}\n")
    (wrong,) = wrong_imports(package)
    assert wrong.startswith(file) and told in wrong


def test_the_page_names_files_that_are_there():
    named = set(re.findall(r"`((?:[\w/]+/)?\w+\.py|[\w/]+/)`", PAGE))
    for path in named:
        assert (ROOT / "scwm" / path).exists() or (ROOT / path).exists(), path
    assert {f"{kind.folder}/" for kind in KINDS} <= named
    drawings = "".join(re.findall(r"```(.*?)```", PAGE, re.S))
    drawn = set(re.findall(r"(?<![\w/])([\w/]+\.py)\b", drawings))
    assert len(drawn) > 15 and all((ROOT / "scwm" / path).is_file() for path in drawn)

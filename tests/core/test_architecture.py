"""Imports go one way, layer by layer, as docs/architecture.md draws them."""

import re
from pathlib import Path

import pytest

from scwm.core.plugins import KINDS, LAYOUTS
from scwm.core.sources import imports, sources

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
ROOMS = re.findall(r"^\| `(\w+)/` \|", PAGE.partition("## Rooms")[2], re.M)
NAMES = ("memory", "losses", "parsing", "pseudo_labels")
BY_NAME = "method/strategies/uniform.py"
SHORT = {"__init__.py", "__main__.py", *(f"{name}.py" for name in NAMES)}


def files_of(package: Path) -> list[str]:
    found = [*package.rglob("*.py"), *package.rglob("*.html")]
    return sorted(path.relative_to(package).as_posix() for path in found)


def floor(file: str) -> int:
    """The number of a file's room, from the top; what is outside of all rooms stands above them."""
    return ROOMS.index(file.split("/")[0]) if "/" in file else -1


def wrong_imports(package: Path) -> list[str]:
    """Imports from a room above the file's own, and of modules that are found by name."""
    wrong = []
    folders = [kind.folder for kind in KINDS if kind is not LAYOUTS]
    for file in files_of(package):
        for other in sorted(imports(file, package)):
            if floor(other) < floor(file):
                wrong.append(f"{file} imports {other}, which is above it")
            if str(Path(other).parent) in folders and not other.endswith("__init__.py"):
                wrong.append(f"{file} imports {other}, which is found by its name")
    return wrong


def circles(package: Path) -> list[list[str]]:
    """Chains of imports that come back to where they start."""
    found: list[list[str]] = []
    done: set[str] = set()

    def follow(file: str, chain: list[str]) -> None:
        if file in chain:
            found.append([*chain[chain.index(file) :], file])
        elif file not in done:
            for other in sorted(imports(file, package)):
                follow(other, [*chain, file])
            done.add(file)

    for file in files_of(package):
        follow(file, [])
    return found


def test_every_file_is_in_one_of_nine_rooms():
    files = files_of(ROOT / "scwm")
    assert len(ROOMS) == 9 and len(files) > 100
    assert {file for file in files if "/" not in file} == SHORT
    assert {file.split("/")[0] for file in files if "/" in file} == set(ROOMS)


def test_imports_go_one_way():
    assert wrong_imports(ROOT / "scwm") == []
    assert circles(ROOT / "scwm") == []


@pytest.mark.parametrize(
    ("file", "line", "other"),
    [
        ("core/errors.py", "from scwm.data.store import ImageStore", "data/store.py"),
        ("data/sampler.py", "def f():\n    import scwm.reporting.runs", "reporting/runs.py"),
        ("method/memory.py", "from scwm.training import trainer", "training/trainer.py"),
        ("method/memory.py", "from scwm import load_model", "__init__.py"),
        (
            "evaluation/study.py",
            'PAGE = "reporting/templates/page.html"',
            "reporting/templates/page.html",
        ),
        (
            "reporting/templates/page.html",
            '{% import "inference/templates/crops.html" as crops %}',
            "inference/templates/crops.html",
        ),
        ("evaluation/ranking.py", "from scwm.reporting import TABLES", "reporting/__init__.py"),
        ("method/memory.py", "from scwm.method.strategies.uniform import weights", BY_NAME),
    ],
)
def test_an_import_the_wrong_way_is_seen(tmp_path, file, line, other):
    for path, text in ((file, f"{line}\n"), (other, "")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    reason = "found by its name" if other == BY_NAME else "above it"
    assert wrong_imports(tmp_path) == [f"{file} imports {other}, which is {reason}"]


def test_every_template_is_an_import_of_what_fills_it():
    """A rule's code inputs follow imports, so that an edit of a template redoes its pages."""
    package = ROOT / "scwm"
    templates = {path.relative_to(package).as_posix() for path in package.rglob("*.html")}
    shared = "reporting/templates/page.html"
    for page in ("tables/tables.py", "report.py", "dashboard.py"):
        assert shared in sources([f"reporting/{page}"])
    found = {file for source in files_of(package) for file in imports(source)}
    assert {file for file in found if file.endswith(".html")} == templates and len(templates) > 5


def test_a_circle_is_seen_within_a_room_too(tmp_path):
    room = tmp_path / "core"
    room.mkdir()
    for name, line in (("one", "two"), ("two", "three"), ("three", "one"), ("zero", "one")):
        (room / f"{name}.py").write_text(f"from scwm.core import {line}\n")
    (found,) = circles(tmp_path)
    assert sorted(set(found)) == ["core/one.py", "core/three.py", "core/two.py"]


def test_the_page_names_files_that_are_there():
    named = set(re.findall(r"`((?:[\w/]+/)?\w+\.py|[\w/]+/)`", PAGE))
    for path in named:
        assert (ROOT / "scwm" / path).exists() or (ROOT / path).exists(), path
    assert {f"{kind.folder}/" for kind in KINDS} <= named
    drawings = "".join(re.findall(r"```(.*?)```", PAGE, re.S))
    drawn = set(re.findall(r"(?<![\w/])([\w/]+\.py)\b", drawings))
    assert len(drawn) > 15 and all((ROOT / "scwm" / path).is_file() for path in drawn)

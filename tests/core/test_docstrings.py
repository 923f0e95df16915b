"""What docs/contributing.md asks of docstrings holds for every public name of the package."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[2] / "scwm"
# Modules that hold formulas; what merely gathers others, `__init__.py`, has none.
METHOD = re.compile(
    r"(method/(weighting|memory|losses|objective)|evaluation/ranking"
    r"|method/(strategies|parsing|pseudo_labels)/.*(?<!__init__))\.py"
)
# Not those in a dict, which are of many shapes.
ARRAYS = re.compile(r"(?<!dict\[str, )\b(?:np\.ndarray|Tensor|csr_array)\b")
DIMENSION = (
    r"(?:len\(\w+\)|\d+|[A-Z]\w*|[a-z]\w?|rows|height|tiles|count|images|dimensions)(?:[+·*×-]\w+)*"
)
SHAPE = re.compile(
    rf"\({DIMENSION},\)|\({DIMENSION}(?:, ?(?:{DIMENSION}|width|columns|top|…))+[):]"
    r"|\bscalar\b|\b(?:shapes? )?as (?:in|of) `|\bshape of\b|\bsame shape\b"
)
TELLS_ERRORS = re.compile(r"\bRaises:|\bScwmError\b|\berrors?\b")
SOURCE = re.compile(r"\b(?:19|20)\d\d\b|§|\b[Oo]urs\b")


class Public(NamedTuple):
    """A public name: where it stands, its docstring, and what else explains it, for a method its
    class's docstring, for a class the comments of its fields."""

    where: str
    node: ast.Module | ast.ClassDef | ast.FunctionDef
    docstring: str
    around: str


def public_names(path: Path) -> Iterator[Public]:
    """A module, and what is public in it."""
    module, lines = ast.parse(path.read_text()), path.read_text().splitlines()

    def inside(node: ast.Module | ast.ClassDef, where: str) -> Iterator[Public]:
        for inner in node.body:
            if isinstance(inner, ast.ClassDef | ast.FunctionDef) and not inner.name.startswith("_"):
                around = ast.get_docstring(node) if isinstance(node, ast.ClassDef) else ""
                name = f"{where}:{inner.lineno} {inner.name}"
                if isinstance(inner, ast.ClassDef):
                    around = "\n".join(lines[field.lineno - 1] for field in fields(inner))
                    yield from inside(inner, name)
                yield Public(name, inner, ast.get_docstring(inner) or "", around or "")

    where = path.relative_to(PACKAGE).as_posix()
    yield Public(where, module, ast.get_docstring(module) or "", "")
    yield from inside(module, where)


def fields(node: ast.ClassDef) -> list[ast.AnnAssign]:
    """The annotated fields of a class."""
    return [line for line in node.body if isinstance(line, ast.AnnAssign)]


NAMES = [public for path in sorted(PACKAGE.rglob("*.py")) for public in public_names(path)]


def annotations(node: ast.AST) -> str:
    """What a function takes and returns, or the fields of a class are."""
    found: list[ast.AST | None] = []
    if isinstance(node, ast.FunctionDef):
        every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        found = [node.returns, *(argument.annotation for argument in every)]
    elif isinstance(node, ast.ClassDef):
        found = [field.annotation for field in fields(node)]
    return " ".join(ast.unparse(one) for one in found if one is not None)


def raises_itself(node: ast.AST) -> bool:
    """Whether a function raises a ScwmError in its own lines."""
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(inner, ast.Raise) and inner.exc and "ScwmError(" in ast.unparse(inner.exc)
        for inner in ast.walk(node)
    )


def test_every_public_name_has_a_docstring():
    assert len(NAMES) > 500
    assert not [public.where for public in NAMES if not public.docstring]


def test_arrays_have_shapes():
    assert not [
        public.where
        for public in NAMES
        if ARRAYS.search(annotations(public.node))
        and not SHAPE.search(public.docstring + public.around)
    ]


def test_errors_are_told():
    assert not [
        public.where
        for public in NAMES
        if raises_itself(public.node) and not TELLS_ERRORS.search(public.docstring + public.around)
    ]


def test_methods_name_their_sources():
    """In the docstring of the module, or in that of everything public in it."""
    modules = {
        public.where: public.docstring
        for public in NAMES
        if isinstance(public.node, ast.Module) and METHOD.fullmatch(public.where)
    }
    assert len(modules) > 12
    unsourced = {where for where, text in modules.items() if not SOURCE.search(text)}
    assert not [
        public.where
        for public in NAMES
        if public.where.partition(":")[0] in unsourced
        and not isinstance(public.node, ast.Module)
        and public.where.count(":") == 1
        and not SOURCE.search(public.docstring)
    ]

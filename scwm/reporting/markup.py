"""A table of text cells, as Markdown and as HTML, and the templates of all pages."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from jinja2 import Environment, PackageLoader, StrictUndefined

UNKNOWN = "\N{EN DASH}"
EMPTY = "This benchmark has nothing for this table."
TEMPLATES = Environment(
    loader=PackageLoader("scwm", "."),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
TEMPLATES.globals |= {"UNKNOWN": UNKNOWN, "EMPTY": EMPTY}


@dataclass(frozen=True)
class Cell:
    """The text of a cell; `mark`: best, second, name (of a method), text (left-aligned) or ""."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Block:
    """The rows of one data set, in named groups."""

    dataset: str
    notes: tuple[str, ...]
    header: tuple[str, ...]
    groups: dict[str, list[list[Cell]]]

    @property
    def left(self) -> set[int]:
        """Columns of names and text, which are left-aligned."""
        firsts = (rows[0] for rows in self.groups.values())
        return {i for row in firsts for i, c in enumerate(row) if c.mark in ("name", "text")}


@dataclass(frozen=True)
class Table:
    """A table for readers: title, caption, a block per data set, and missing runs."""

    name: str
    title: str
    caption: str
    blocks: tuple[Block, ...]
    gaps: tuple[str, ...]


def notes_of(notes: Iterable[tuple[str, str | None]]) -> tuple[str, ...]:
    """Join the notes of runs; one that not all methods share names its methods.

    Args:
        notes: method and note of each run; a note may have several parts, separated by "; ".
    """
    pairs = [(method, note or "") for method, note in notes]
    methods = dict.fromkeys(method for method, _ in pairs)
    parts: dict[str, dict[str, None]] = {}
    for method, note in pairs:
        for part in filter(None, note.split("; ")):
            parts.setdefault(part, {})[method] = None
    shared = ["; ".join(part for part, own in parts.items() if len(own) == len(methods))]
    own = [f"{', '.join(own)}: {part}" for part, own in parts.items() if len(own) < len(methods)]
    return tuple(filter(None, [*shared, *own]))


def _markdown_cell(cell: Cell) -> str:
    text = escape(cell.text, quote=False).replace("|", "\\|").replace("\n", " ")
    forms = {"best": f"**{text}**", "second": f"<ins>{text}</ins>", "name": f"`{text}`"}
    return forms.get(cell.mark, text)


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def to_markdown(table: Table) -> str:
    """Write GitHub-flavoured Markdown; <ins> underlines the second-best value."""
    lines = [f"# {table.title}", "", table.caption]
    for block in table.blocks:
        lines += ["", f"## {escape(block.dataset, quote=False)}", ""]
        lines += [f"Note: {escape(note, quote=False)}\n" for note in block.notes]
        rules = (":--" if i in block.left else "--:" for i in range(len(block.header)))
        lines += [_markdown_row(block.header), _markdown_row(rules)]
        for group, rows in block.groups.items():
            if len(block.groups) > 1:
                lines.append(_markdown_row([f"*{group}*"] + [""] * (len(block.header) - 1)))
            lines += [_markdown_row(map(_markdown_cell, cells)) for cells in rows]
    if not table.blocks:
        lines += ["", EMPTY]
    if table.gaps:
        lines += ["", "## Missing", "", *(f"- {escape(gap, quote=False)}" for gap in table.gaps)]
    return "\n".join(lines) + "\n"


def render(template: str, **content: object) -> str:
    """Fill an HTML template; text in `content` is escaped.

    Args:
        template: path below the package; `scwm.core.sources` finds the template by it.
    """
    return TEMPLATES.get_template(template).render(content)

"""A table of text cells as Markdown and as self-contained HTML."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

UNKNOWN = "\N{EN DASH}"
EMPTY = "The benchmark has no run for this table."


@dataclass(frozen=True)
class Cell:
    """Text of a cell; `mark`: best, second, name (of a method), text (set left) or nothing."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Block:
    """The rows of one data set, in named groups."""

    dataset: str
    notes: tuple[str, ...]
    header: tuple[str, ...]
    groups: dict[str, list[list[Cell]]]


@dataclass(frozen=True)
class Table:
    """A table as it is read: title, caption, a block per data set, and what is missing."""

    name: str
    title: str
    caption: str
    blocks: tuple[Block, ...]
    gaps: tuple[str, ...]


def _markdown_cell(cell: Cell) -> str:
    text = escape(cell.text, quote=False).replace("|", "\\|").replace("\n", " ")
    forms = {"best": f"**{text}**", "second": f"<ins>{text}</ins>", "name": f"`{text}`"}
    return forms.get(cell.mark, text)


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def to_markdown(table: Table) -> str:
    """GitHub-flavoured Markdown; the second-best value is underlined with <ins>."""
    lines = [f"# {table.title}", "", table.caption]
    for block in table.blocks:
        lines += ["", f"## {escape(block.dataset, quote=False)}", ""]
        lines += [f"Note: {escape(note, quote=False)}\n" for note in block.notes]
        left = {i for cells in block.groups.values() for i, c in enumerate(cells[0]) if _left(c)}
        rules = (":--" if i in left else "--:" for i in range(len(block.header)))
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


def _left(cell: Cell) -> bool:
    return cell.mark in ("name", "text")


def _html_row(cells: list[Cell]) -> str:
    first, *rest = cells
    row = [f'<th scope="row"><code>{escape(first.text)}</code></th>']
    for cell in rest:
        kind = cell.mark or ("unknown" if cell.text == UNKNOWN else "")
        row.append(f'<td class="{kind}">' if kind else "<td>")
        row.append(f"{escape(cell.text)}</td>")
    return f"<tr>{''.join(row)}</tr>"


def html_rows(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A plain table of text: escaped header and rows."""
    head = "".join(f'<th scope="col" class="text">{escape(str(name))}</th>' for name in header)
    body = "\n".join(
        "<tr>" + "".join(f'<td class="text">{escape(str(c))}</td>' for c in cells) + "</tr>"
        for cells in rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def html_fragment(table: Table) -> str:
    """The table as a section to be set inside a page, its names escaped."""
    parts = [f"<h2>{escape(table.title)}</h2>", f'<p class="caption">{escape(table.caption)}</p>']
    for block in table.blocks:
        parts.append(f"<h3>{escape(block.dataset)}</h3>")
        parts += [f'<p class="note">Note: {escape(note)}</p>' for note in block.notes]
        sample = next(iter(block.groups.values()))[0]
        head = "".join(
            f'<th scope="col"{" class=text" if _left(cell) else ""}>{escape(name)}</th>'
            for name, cell in zip(block.header, sample, strict=True)
        )
        parts.append(f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>')
        for group, rows in block.groups.items():
            parts.append("<tbody>")
            if len(block.groups) > 1:
                span = len(block.header)
                parts.append(f'<tr class="group"><th colspan="{span}">{escape(group)}</th></tr>')
            parts += [_html_row(cells) for cells in rows]
            parts.append("</tbody>")
        parts.append("</table></div>")
    if not table.blocks:
        parts.append(f"<p>{EMPTY}</p>")
    if table.gaps:
        items = "\n".join(f"<li>{escape(gap)}</li>" for gap in table.gaps)
        parts.append(f'<div class="missing"><h3>Missing</h3><ul>\n{items}\n</ul></div>')
    return f'<section id="table-{escape(table.name)}">\n' + "\n".join(parts) + "\n</section>"


def to_html(table: Table) -> str:
    """The table as a page of its own."""
    return html_page(table.title, html_fragment(table))


def html_page(title: str, body: str, style: str = "") -> str:
    """A self-contained page (no network) that follows the reader's light or dark setting.

    Args:
        style: rules of its own, after those of all pages.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --soft: #5a6370; --line: #d5dae0;
  --paper: #ffffff; --band: #f3f5f7; --accent: #0b5fa5; --gap: #a4400c; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e7eb; --soft: #a3acb8; --line: #3a424d;
  --paper: #15191e; --band: #20262d; --accent: #7cbcf5; --gap: #f0a070; } }
body { margin: 0; background: var(--paper); color: var(--text);
  font: 16px/1.5 system-ui, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif; }
main { max-width: 84rem; margin: 0 auto; padding: 1.5rem; }
h1, h2, h3, h4 { line-height: 1.25; margin: 1.6em 0 .5em; }
h1 { margin-top: .4em; } h2 { border-bottom: 1px solid var(--line); padding-bottom: .2em; }
p, li { max-width: 52rem; } a { color: var(--accent); }
.caption, .note, figcaption { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .42rem; text-align: right; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; } td.text { white-space: normal; min-width: 3rem; }
thead th { vertical-align: bottom; border-bottom: 2px solid var(--soft); }
th[scope=row], th.text, td.text, .group th { text-align: left; }
th[scope=row] { position: sticky; left: 0; background: var(--paper); font-weight: 400; }
tbody tr:hover, tbody tr:hover th { background: var(--band); }
.group th { background: var(--band); color: var(--soft); font-weight: 600; }
td.best { font-weight: 700; } td.second { text-decoration: underline; }
td.unknown { color: var(--soft); }
.missing { border-left: 4px solid var(--gap); padding: .1rem 1rem; background: var(--band); }
.missing h3, .missing h4 { color: var(--gap); margin-top: .5em; }
code { font-family: ui-monospace, "Liberation Mono", "DejaVu Sans Mono", monospace; }
figure { margin: 1.2rem 0 2rem; }
figure img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; display: block; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--accent); }
@media print { main { max-width: none; padding: 0; } .scroll { overflow: visible; } }
"""

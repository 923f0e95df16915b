"""A table of text cells as LaTeX, with the rules of booktabs."""

import re

from scwm.reporting.markup import EMPTY, Block, Cell, Table

PACKAGES = r"\usepackage[T1]{fontenc}\usepackage{textcomp,array,booktabs,graphicx}"
LONG = 34  # letters; longer texts of a column are wrapped
SIGNS = {
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "Δ": r"$\Delta$",
    "λ": r"$\lambda$",
    "τ": r"$\tau$",
    "·": r"$\cdot$",
    "–": "--",
    "…": r"\ldots{}",
}


def to_latex(table: Table) -> str:
    r"""Write one `table*` environment per data set, for \input.

    The first line names the packages that it needs; captions and labels hold the data set.
    """
    lines = [f"% in the preamble: {PACKAGES}"]
    for block in table.blocks:
        lines += _environment(table, block)
    if not table.blocks:
        lines.append(f"% {EMPTY}")
    lines += [f"% missing: {gap}".replace("\n", " ") for gap in table.gaps]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text with LaTeX's own signs escaped and those outside ASCII spelled as commands."""
    return "".join(SIGNS.get(sign, sign) for sign in text)


def _environment(table: Table, block: Block) -> list[str]:
    notes = " ".join(f"Note: {note}." for note in block.notes)
    caption = escaped(f"{table.title}, {block.dataset}. {table.caption} {notes}".strip())
    label = re.sub(r"[^a-z0-9]+", "-", f"{table.name} {block.dataset}".lower())
    columns = _columns([cells for own in block.groups.values() for cells in own])
    return [
        r"\begin{table*}[tbp]",
        r"\centering",
        r"\setlength{\belowcaptionskip}{6pt}\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}}}",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{@{{}}{''.join(columns)}@{{}}}}",
        r"\toprule",
        " & ".join(map(_title, block.header, columns)) + r" \\",
        r"\midrule",
        *_body(block),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table*}",
    ]


def _columns(rows: list[list[Cell]]) -> list[str]:
    """Figures to the right, text to the left, long text in a column that wraps."""
    letters = []
    for cells in zip(*rows, strict=True):
        wide = max(len(cell.text) for cell in cells) > LONG
        left = cells[0].mark in ("name", "text")
        wrapped = r">{\raggedright\arraybackslash}p{5.2cm}"
        letters.append(wrapped if left and wide else "l" if left else "r")
    return letters


def _title(text: str, column: str) -> str:
    """The head of a column; over figures, which are short, in two lines."""
    if column != "r" or " " not in text:
        return escaped(text)
    lines = r"\\".join(map(escaped, text.rsplit(" ", 1)))
    return rf"\shortstack[r]{{{lines}}}"


def _body(block: Block) -> list[str]:
    lines = []
    for number, (group, rows) in enumerate(block.groups.items()):
        if len(block.groups) > 1:
            lines += [r"\midrule"] * (number > 0)
            lines.append(
                rf"\multicolumn{{{len(block.header)}}}{{@{{}}l}}{{\textit{{{escaped(group)}}}}} \\"
            )
        lines += [" & ".join(map(_cell, cells)) + r" \\" for cells in rows]
    return lines


def _cell(cell: Cell) -> str:
    text = escaped(cell.text)
    if cell.mark == "text":  # names in it may be long
        text = re.sub(r"\\_|(?<=\w)[.:](?=\w)", r"\g<0>\\allowbreak{}", text)
    forms = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "name": r"\texttt{%s}"}
    return forms.get(cell.mark, "%s") % text

"""Write the tables in README.md and docs/ again from the results that they name.

    python tools/fill_docs.py [--root FOLDER]

A table in a document stands between two lines; the first says where it comes from, under which
heading it is found there and, where not all are wanted, of which group and columns:

    <!-- table results/tables/main.md, mannequins [methods]: Method, mAP, Rank-1 -->
    <!-- /table -->

`--root` is the folder that holds `results`. Tables whose file is not there stay as they are.
"""

import argparse
import re
import sys
from pathlib import Path

from scwm.core.files import write_text

DOCUMENTS = ("README.md", "docs/*.md")
PLACE = re.compile(
    r"(?P<begin><!-- table (?P<path>[^,]+), (?P<heading>[^:\n]+?)(?: \[(?P<group>\w+)\])?"
    r"(?:: (?P<columns>[^\n]+))? -->\n)"
    r".*?(?P<end><!-- /table -->)",
    re.DOTALL,
)


def find_table(text: str, heading: str, group: str | None, columns: list[str]) -> str:
    """The first Markdown table below a heading, all of it or the rows and columns named."""
    below = re.search(rf"^#+ {re.escape(heading)}(?: [^\n]*)?$(.*)", text, re.M | re.S)
    lines = re.search(r"(?:^\|.*\n?)+", below[1], re.M) if below else None
    if lines is None:
        raise SystemExit(f"No table below the heading '{heading}'.")
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
        for line in lines[0].splitlines()
    ]
    if group:
        names = [row[0].strip("*") if row[0].startswith("*") else "" for row in rows]
        if group not in names:
            raise SystemExit(f"No group {group} below '{heading}'.")
        start = names.index(group) + 1
        stop = next((i for i in range(start, len(rows)) if names[i]), len(rows))
        rows = rows[:2] + rows[start:stop]
    unknown = [name for name in columns if name not in rows[0]]
    if unknown:
        raise SystemExit(f"No column {unknown[0]} below '{heading}': {', '.join(rows[0])}.")
    chosen = [rows[0].index(name) for name in columns or rows[0]]
    return "".join(f"| {' | '.join(row[i] for i in chosen)} |\n" for row in rows)


def fill(document: str, root: Path) -> str:
    """The document with its tables taken from the files below `root`."""

    def table(place: re.Match[str]) -> str:
        file = root / place["path"]
        if not file.exists():
            print(f"kept as it is, no {file}", file=sys.stderr)
            return place[0]
        columns = [name.strip() for name in (place["columns"] or "").split(",") if name]
        return (
            place["begin"]
            + find_table(
                file.read_text(encoding="utf-8"), place["heading"], place["group"], columns
            )
            + place["end"]
        )

    return PLACE.sub(table, document)


def main() -> None:
    """Fill every document of the project."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path())
    root = parser.parse_args().root
    project = Path(__file__).parents[1]
    for path in sorted(path for pattern in DOCUMENTS for path in project.glob(pattern)):
        text = path.read_text(encoding="utf-8")
        filled = fill(text, root)
        if filled != text:
            write_text(filled, path)
            print(path.relative_to(project))


if __name__ == "__main__":
    main()

"""The shell lines that README.md and docs/ show."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
ASSIGNED = re.compile(r"^([A-Z]+)=(\S+)$", re.MULTILINE)


def shell_lines(page: Path) -> list[str]:
    """The commands of a page's shell blocks: continued lines joined, without comments, and with the
    values of variables that their block sets."""
    lines: list[str] = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        joined = re.sub(r"\\\n\s*", "", block)
        values = dict(ASSIGNED.findall(joined))
        for name, value in values.items():
            joined = joined.replace(f"${name}", value)
        commands = (re.sub(r"(?:^|\s)#.*", "", line) for line in joined.splitlines())
        lines += [line.strip() for line in commands if line.strip() and not ASSIGNED.match(line)]
    return lines

"""Claims in the order in which pages show them: parsing, memory, losses, the whole method."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from scwm.reporting.markup import Block, Cell, Table

GROUPS = {
    "Parsing": ("foreground_", "space_", "above_no_corrections", "tiny_space"),
    "Memory": ("memory_", "hard_", "noise_", "tiny_hard", "tiny_noise"),
    "Losses": ("diversity_", "separation_"),
}
"""How the names of a group's claims begin."""
WHOLE = "Whole method"
HIDDEN = ("Claim", "Comparison")  # keys, which the CSV and Markdown files keep
T = TypeVar("T")


def group_of(claim: str) -> str:
    """Return the group of a claim, by its name."""
    return next((group for group, starts in GROUPS.items() if claim.startswith(starts)), WHOLE)


def grouped(claims: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    """Sort what belongs to claims, given by their names, into the groups that have any."""
    groups: dict[str, list[T]] = {group: [] for group in (*GROUPS, WHOLE)}
    for name, one in claims:
        groups[group_of(name)].append(one)
    return {group: own for group, own in groups.items() if own}


def for_readers(table: Table) -> Table:
    """Return a table of claims in reading order and without keys, for a page."""
    return replace(table, blocks=tuple(map(_block, table.blocks)))


def _block(block: Block) -> Block:
    shown = [i for i, name in enumerate(block.header) if name not in HIDDEN]
    rows = [
        (cells[0].text, _row(cells, shown, kind))
        for kind, own in block.groups.items()
        for cells in own
    ]
    header = tuple(block.header[i] for i in shown)
    return replace(block, header=header, groups=grouped(rows))


def _row(cells: list[Cell], shown: list[int], kind: str) -> list[Cell]:
    first, *others = (cells[i] for i in shown)
    return [replace(first, text=f"{first.text} ({kind})"), *others]

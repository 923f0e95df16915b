"""The tables in README.md and docs/ are those of the recorded results."""

from pathlib import Path

import pandas as pd
import pytest

from tools.fill_docs import DOCUMENTS, PLACE, fill, find_table

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for pattern in DOCUMENTS for path in ROOT.glob(pattern))
TABLE = """
## toys

| Method | mAP | Rank-1 |
| :-- | --: | --: |
| *methods* |  |  |
| `one` | 1 | 2 |
| `two` | 3 | 4 |
| *controls* |  |  |
| `none` | 5 | 6 |
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_of_a_page_are_the_recorded_ones(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for place in PLACE.finditer(text):
        if place["path"].startswith("results/recorded/"):
            assert (ROOT / place["path"]).is_file(), place["path"]
    assert fill(text, ROOT) == text, "run `python tools/fill_docs.py`"


def test_the_readme_counts_the_recorded_verdicts() -> None:
    claims = pd.read_csv(ROOT / "results/recorded/tables/claims.csv")
    found = claims[claims["kind"] == "required"]["verdict"].value_counts()
    lack = found.drop(["held", "refuted", "undecided"]).sum()
    told = (
        f"Of {found.sum()} required claims {found['held']} are held, {found['refuted']} is refuted,"
        f" {found['undecided']} are undecided and {lack} lack runs"
    )
    assert told in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def test_a_table_is_cut_to_a_group_and_columns() -> None:
    head = "| Method | Rank-1 |\n| :-- | --: |\n"
    expected = f"{head}| `one` | 2 |\n| `two` | 4 |\n"
    assert find_table(TABLE, "toys", "methods", ["Method", "Rank-1"]) == expected
    assert find_table(TABLE, "toys", "controls", ["Method", "Rank-1"]) == f"{head}| `none` | 6 |\n"
    whole = TABLE[TABLE.index("|") :]
    assert find_table(TABLE, "toys", None, []) == whole


@pytest.mark.parametrize(("group", "columns"), [("others", []), (None, ["Rank-7"])])
def test_an_unknown_group_or_column_is_named(group: str | None, columns: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"others|Rank-7"):
        find_table(TABLE, "toys", group, columns)

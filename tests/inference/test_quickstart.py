"""docs/quickstart.ipynb: its cells run, and rank people that the suite renders."""

import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/quickstart.ipynb"
CELLS = json.loads(PAGE.read_text(encoding="utf-8"))["cells"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> dict[str, Any]:
    """The names that the cells leave, run in an empty folder."""
    matplotlib.use("Agg")
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("quickstart"))
        for number, cell in enumerate(CELLS):
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    return names


def test_the_cells_rank_people_well(ran):
    """The first of a list is mostly the query's person."""
    queries, gallery, order = (ran[name] for name in ("queries", "gallery", "order"))
    assert len(queries) >= 10 and len({path.name[:4] for path in gallery}) >= 10
    assert order.shape == ran["similarity"].shape == (len(queries), len(gallery))
    right = [
        gallery[row[0]].name[:4] == query.name[:4]
        for query, row in zip(queries, order, strict=True)
    ]
    assert sum(right) >= 0.7 * len(right)
    assert len(ran["figure"].axes) == ran["shown"] * (1 + ran["first"])


def test_what_the_page_shows_is_what_the_cells_give(ran):
    """The shapes and counts that it prints; every cell was run, in order, without an error."""
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
    outputs = [output for cell in code for output in cell["outputs"]]
    text = "".join("".join(output.get("text", ())) for output in outputs)
    assert f"{len(ran['queries'])} queries, {len(ran['gallery'])} crops" in text
    assert f"{ran['features'].shape} {ran['masks'].shape}" in text
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output["output_type"] == "error" for output in outputs)

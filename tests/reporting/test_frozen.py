"""Tables and report say what was frozen before the runs, and what has changed since."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from made_up_runs import TRANSFER, write_runs

from scwm import reporting
from scwm.core import freeze
from scwm.core.errors import ScwmError
from scwm.core.files import write_json
from scwm.core.freeze import Freeze, current_files
from scwm.core.yaml_files import CONFIG_DIR
from scwm.reporting.catalogue import Request
from scwm.reporting.runs import freeze_note, load_runs
from scwm.reporting.tables.claim_table import check_table
from scwm.reporting.tables.claims import load_claims

NAMES = ["mannequins"], ["scwm", "no_space"], [0, 1]
COMMIT = "0123456789" * 4


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of config/ that is not frozen."""
    ignored = shutil.ignore_patterns("frozen.json")
    folder = shutil.copytree(CONFIG_DIR, tmp_path / "config", ignore=ignored)
    monkeypatch.setattr(freeze, "CONFIG_DIR", folder)
    monkeypatch.setattr(load_claims, "__defaults__", (folder / "claims",))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_runs(tmp_path / "runs", *NAMES)


def freeze_now(config: Path) -> str:
    """Freeze the copy; returns the hash."""
    found = Freeze(COMMIT, current_files())
    write_json(found.content(), config / "frozen.json")
    return found.hash


def train_under(root: Path, frozen: str, seeds: list[int]) -> None:
    for path in root.glob("*/*/seed*/provenance.json"):
        if int(path.parent.name.removeprefix("seed")) in seeds:
            path.write_text(json.dumps(json.loads(path.read_text()) | {"frozen": frozen}))


def test_the_note_follows_the_freeze_the_runs_and_the_files(config: Path, root: Path) -> None:
    def note() -> str:
        return freeze_note(load_runs(Request(root, *NAMES)))

    assert note() == "Settings and claims are not frozen."
    frozen = freeze_now(config)
    begins = "Settings and claims were frozen at commit 0123456789"
    assert note() == f"{begins}. Not trained under the freeze: 4 of 4 runs."
    train_under(root, frozen, [0])
    assert note() == f"{begins}. Not trained under the freeze: 2 of 4 runs."
    train_under(root, frozen, [1])
    assert note() == f"{begins} before the runs."
    shutil.copy(config / "claims/space_map.yaml", config / "claims/new.yaml")
    assert note() == f"{begins} before the runs."
    (config / "methods/scwm.yaml").unlink()
    (config / "claims/space_map.yaml").write_text("# edited\n")
    assert note() == (
        "Changed after the freeze at commit 0123456789: config/claims/space_map.yaml, "
        "config/methods/scwm.yaml."
    )
    content = json.loads((config / "frozen.json").read_text())
    files = content["files"] | {"scwm/training/trainer.py": "another", "scwm/gone.py": "gone"}
    write_json(Freeze(COMMIT, files).content(), config / "frozen.json")
    assert "scwm.yaml, 2 files of scwm (listed by scwm freeze --check)." in note()
    freeze_now(config)
    assert note().endswith("4 of 4 runs.")  # they were trained under another freeze


def test_tables_in_every_form_and_the_report_say_it(
    config: Path, root: Path, tmp_path: Path
) -> None:
    train_under(root, freeze_now(config), [0, 1])
    note = "Settings and claims were frozen at commit 0123456789 before the runs."
    for name in reporting.TABLES:
        wanted = Request(root, *NAMES, TRANSFER, partial=True)
        for path in reporting.table(name, wanted, tmp_path / name):
            text = path.read_text()
            holds = path.suffix != ".csv" and (path.suffix != ".tex" or "table*" in text)
            assert text.count(note) == int(holds), path
    page, _ = reporting.page(
        tmp_path, Request(root, *NAMES, partial=True), tmp_path / "report.html"
    )
    question = page.read_text().partition('id="question"')[2].partition("<h2")[0]
    assert note in question and page.read_text().count(note) == 1


def test_a_frozen_claim_cannot_be_deleted(
    config: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refuted claim would be gone from the table, and the others corrected for fewer."""
    reporting.table("claims", Request(root, *NAMES), tmp_path / "claims")
    table = pd.read_csv(tmp_path / "claims.csv")
    named = table.claim.isin(["space_map", "foreground_map"])
    table.loc[named, "verdict"], table.loc[~named, "kind"] = "held", "informative"
    table.loc[named, "missing"] = None
    table.to_csv(tmp_path / "claims.csv", index=False)
    freeze_now(config)
    required = sum(one.kind == "required" and "mannequins" in one.datasets for one in load_claims())
    assert check_table(tmp_path / "claims.csv") == (
        "required claims: 2 held\n"
        f"required claims that this benchmark does not name: {required - 2}"
    )
    (config / "claims/space_map.yaml").unlink()
    with pytest.raises(ScwmError, match=r"(?s)claim is missing.*config/claims/space_map\.yaml"):
        check_table(tmp_path / "claims.csv")


def test_claims_of_after_the_freeze_are_marked(config: Path, root: Path, tmp_path: Path) -> None:
    freeze_now(config)
    claims = config / "claims"
    text = (claims / "space_map.yaml").read_text()
    (claims / "new.yaml").write_text(text)
    (claims / "space_map.yaml").write_text(text.replace("at_least: 0.02", "at_least: 0.5"))
    reporting.table("claims", Request(root, *NAMES), tmp_path / "claims")
    frame = pd.read_csv(tmp_path / "claims.csv", keep_default_na=False).set_index("claim")
    marks = frame["since_freeze"].to_dict()
    assert {claim: mark for claim, mark in marks.items() if mark} == {
        "new": "added",
        "space_map": "altered",
    }
    lines = (tmp_path / "claims.md").read_text().splitlines()
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    assert "raises mAP (added after the freeze) |" in rows["new"]
    assert "raises mAP (altered after the freeze) |" in rows["space_map"]
    assert sum("after the freeze" in row for row in rows.values()) == 2

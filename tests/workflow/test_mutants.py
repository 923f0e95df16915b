"""The mutants fit the code they break, and what breaks is seen; the hosted checks are make's."""

import re
from pathlib import Path

import pytest
import yaml

from tools import kill_test, mutants
from tools.mutants import Mutant, load_mutants

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = {
    *("foreground correction", "space correction", "memory weights", "memory update"),
    *("separation loss", "diversity loss"),
}


def test_every_component_has_a_mutant():
    found = load_mutants()
    assert len({mutant.name for mutant in found}) == len(found)
    assert {mutant.component for mutant in found} >= COMPONENTS


@pytest.mark.parametrize("mutant", load_mutants(), ids=lambda mutant: mutant.name)
def test_mutant_changes_one_place_of_valid_code(mutant, tmp_path):
    text = (ROOT / mutant.file).read_text()
    path = tmp_path / mutant.file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with mutant.applied(tmp_path):
        assert path.read_text() != text
        compile(path.read_text(), mutant.file, "exec")
    assert path.read_text() == text


def test_mutant_of_other_code_is_refused(tmp_path):
    (tmp_path / "code.py").write_text("a = b = 1\n")
    for old, times in (("c", 0), (" = ", 2)):
        stale = Mutant("stale", "", "", "code.py", old, "d")
        with pytest.raises(ValueError, match=f"occurs {times} times"), stale.applied(tmp_path):
            pass
    assert (tmp_path / "code.py").read_text() == "a = b = 1\n"


MAKEFILE = """
component-tests:
\t@grep -q 'a = 1' code.py || { echo 'FAILED tests/test_code.py::test_a - wrong'; exit 1; }
ablation-check: component-tests
\t@grep -q 'b = 1' code.py || { echo '  b_is_one on tiny: refuted, +0.1 [0, 0]'; exit 1; }
clean:
\t@true
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of two components, a checked by a test and b by a claim, and c by nothing."""

    def broken(name: str) -> Mutant:
        return Mutant(name, "component", "slip", "code.py", f"{name} = 1", f"{name} = 2")

    def copy(target: Path) -> None:
        (target / "Makefile").write_text(MAKEFILE)
        (target / "code.py").write_text("a = 1\nb = 1\nc = 1\n")

    monkeypatch.setattr(mutants, "load_mutants", lambda: [broken(name) for name in "abc"])
    monkeypatch.setattr(mutants, "copy_tree", copy)
    return tmp_path


def test_table_says_what_caught_each_mutant(project, capsys):
    out = project / "table.md"
    assert mutants.main(["--only", "a", "b", "--out", str(out)]) == 0
    cells = [line.strip("| ").split(" | ") for line in out.read_text().splitlines()[4:]]
    assert cells[0] == ["`a`", "component", "slip", "`test_code.py::test_a`", "not run"]
    assert cells[1] == ["`b`", "component", "slip", "none", "`b_is_one`"]
    assert "2 of 2 mutants are caught" in capsys.readouterr().out


def test_survivor_is_named(project, capsys):
    assert mutants.main(["--only", "b", "--tests-only"]) == 1
    assert mutants.main(["--only", "c", "--claims"]) == 1
    assert capsys.readouterr().err == "not caught: b\nnot caught: c\n"


def test_unchanged_copy_must_pass(project, monkeypatch, capsys):
    copy = mutants.copy_tree
    monkeypatch.setattr(
        mutants, "copy_tree", lambda target: (copy(target), (target / "code.py").write_text(""))
    )
    assert mutants.main(["--tests-only"]) == 1
    assert "Without any change fail: test_code.py::test_a" in capsys.readouterr().err


def test_copy_holds_what_git_does_not_ignore(tmp_path, monkeypatch):
    monkeypatch.setattr(mutants, "DATA", ())
    mutants.copy_tree(tmp_path)
    assert {"Makefile", "tools/mutants.yaml"} <= {
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")
    }
    assert not {".git", ".venv", "data"} & {path.name for path in tmp_path.iterdir()}
    assert [path.name for path in tmp_path.glob("results/*")] in ([], ["recorded"])


# The hosted workflow


def test_kill_test_clears_no_folder_of_the_user(tmp_path):
    """As of `--folder .` in a checkout, which holds recorded results."""
    (tmp_path / "results").mkdir()
    with pytest.raises(SystemExit, match=r"holds results: give a new or empty --folder"):
        kill_test.Workflow(tmp_path)
    (tmp_path / kill_test.LOG).touch()
    kill_test.Workflow(tmp_path).clear()
    assert not (tmp_path / "results").exists()


def test_hosted_checks_are_targets_of_make():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    makefile = (ROOT / "Makefile").read_text()
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is True
    called = set()
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 30
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            if "run" in step:
                command = re.fullmatch(r"make (\S+|\$\{\{ matrix\.target \}\})", step["run"])
                assert command, step["run"]
                matrix = job.get("strategy", {}).get("matrix", {}).get("target", [])
                called |= set(matrix) if "matrix" in command[1] else {command[1]}
    assert called >= {"lint", "test", "ablation-check"}
    for target in called:
        assert re.search(rf"^{target}:", makefile, re.M), target
    with_ = [step["with"] for step in job["steps"] if "setup-python" in step.get("uses", "")]
    assert all("constraints.txt" in given["cache-dependency-path"] for given in with_) and with_


def test_every_local_check_is_hosted():
    """.ci/run and the hosted workflow check the same."""
    lines = re.findall(r"^make (.*)", (ROOT / ".ci/run").read_text(), re.M)
    called = {word for line in lines for word in line.split() if word[0] not in "-."}
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert called == set(workflow["jobs"]["check"]["strategy"]["matrix"]["target"])

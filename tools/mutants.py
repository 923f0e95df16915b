"""Break one component at a time and see that `make ablation-check` fails.

    python tools/mutants.py [--only NAME ...] [--tests-only] [--claims] [--out FILE.md]

In a copy of the working tree each mutant of tools/mutants.yaml changes one text; then the component
tests run and, where they pass or with `--claims`, the tiny workflow and the check of its claims.
The table says what failed: the test that did first, and all claims. Exit status 1 where nothing
failed, or where something does in the copy as it is, which goes first.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from scwm.core.files import write_text

ROOT = Path(__file__).resolve().parents[1]
HEADER = ("Mutant", "Component", "What was broken", "Test that fails", "Claims that fail")
DATA = ("raw/mannequins_tiny", "stores/mannequins_tiny", "weights")
# The copy runs in this interpreter's environment: make is to set up none.
STAMPS = (".venv/.installed-demo", ".venv/.installed-dev")
TESTS, CLAIMS = "component-tests", "ablation-check"


@dataclass(frozen=True)
class Mutant:
    """One entry of tools/mutants.yaml, which says what each key means."""

    name: str
    component: str
    slip: str
    file: str
    old: str
    new: str

    @contextmanager
    def applied(self, folder: Path) -> Iterator[None]:
        """The file below `folder` changed, and afterwards as it was.

        Raises:
            ValueError: the old text does not occur exactly once.
        """
        path = folder / self.file
        text = path.read_text(encoding="utf-8")
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.name}: its old text occurs {count} times in {self.file}.")
        write_text(text.replace(self.old, self.new), path)
        try:
            yield
        finally:
            write_text(text, path)


def load_mutants() -> list[Mutant]:
    """All mutants, in the file's order."""
    entries = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))[
        "mutants"
    ]
    return [Mutant(**entry) for entry in entries]


def copy_tree(target: Path) -> None:
    """The files that git does not ignore, and the tiny data where this checkout has them."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    for name in DATA:
        if (ROOT / "data" / name).is_dir():
            shutil.copytree(ROOT / "data" / name, target / "data" / name)


def make(folder: Path, *words: str) -> tuple[bool, str]:
    """Whether `make` succeeds in `folder`, and what it printed."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "PYTEST_ADDOPTS": "-x",
        # Bytecode is known by its source's second and size, which two mutants may share.
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done_before = [word for stamp in STAMPS for word in ("-o", stamp)]
    done = subprocess.run(
        ["make", *done_before, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stdout


def failed_tests(folder: Path) -> list[str]:
    """The component tests that fail first, by name; [] where all pass."""
    passed, output = make(folder, TESTS)
    names = re.findall(r"^(?:FAILED|ERROR) tests/(.+?)(?: - |$)", output, re.M)
    return [] if passed else names or [_last(output)]


def failed_claims(folder: Path) -> list[str]:
    """The required claims that fail in the tiny workflow; [] where none does."""
    make(folder, "clean")
    passed, output = make(folder, "-o", TESTS, CLAIMS)
    return [] if passed else re.findall(r"^  (\w+) on \w+: ", output, re.M) or [_last(output)]


def _last(output: str) -> str:
    """What stopped `make`, where neither a test nor a claim did."""
    errors = re.findall(r"^\S*Error: .*|^Error in rule \w+", output, re.M)
    return (errors or output.strip().splitlines() or ["no output"])[0]


def row_of(mutant: Mutant, tests: Sequence[str], claims: Sequence[str] | None) -> list[str]:
    """The mutant's row of the table; claims None: not asked."""

    def shown(names: Sequence[str] | None) -> str:
        if names is None:
            return "not run"
        return ", ".join(f"`{name}`" for name in names) or "none"

    return [f"`{mutant.name}`", mutant.component, mutant.slip, shown(tests[:1]), shown(claims)]


def as_table(rows: Sequence[Sequence[str]]) -> str:
    """The rows below HEADER, in Markdown."""
    lines = [HEADER, [":--"] * len(HEADER), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants; returns the exit status."""
    mutants = load_mutants()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[m.name for m in mutants])
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--tests-only", action="store_true", help="run no workflow")
    asked.add_argument("--claims", action="store_true", help="run the workflow each time")
    parser.add_argument("--out", type=Path, help="the table as a Markdown file")
    options = parser.parse_args(arguments)

    rows, survivors = [], []
    with tempfile.TemporaryDirectory(prefix="scwm-mutants-") as name:
        folder = Path(name)
        copy_tree(folder)
        unchanged = failed_tests(folder)
        if not (unchanged or options.tests_only):
            unchanged = failed_claims(folder)
        if unchanged:
            print(f"Without any change fail: {', '.join(unchanged)}", file=sys.stderr)
            return 1
        for mutant in mutants:
            if options.only and mutant.name not in options.only:
                continue
            start = time.perf_counter()
            with mutant.applied(folder):
                tests, claims = failed_tests(folder), None
                if options.claims or not (tests or options.tests_only):
                    claims = failed_claims(folder)
            rows.append(row_of(mutant, tests, claims))
            if not (tests or claims):
                survivors.append(mutant.name)
            print(f"{time.perf_counter() - start:4.0f} s  {' | '.join(rows[-1])}", flush=True)
    if options.out:
        write_text(f"# Mutants\n\n{as_table(rows)}", options.out)
    print(f"{len(rows) - len(survivors)} of {len(rows)} mutants are caught")
    if survivors:
        print(f"not caught: {', '.join(survivors)}", file=sys.stderr)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())

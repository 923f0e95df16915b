"""Every shell line of README.md and docs/ is one that its program takes.

Every line goes through the real parser, which a renamed option fails; the configs of workflow lines
are resolved. What is cheap is also run: test_cli_help.py.
"""

import argparse
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from documented_commands import PAGES, ROOT, shell_lines

from scwm.cli.main import main
from scwm.cli.planned_runs import planned_configs
from scwm.core.config import (
    load_benchmark,
    merge,
    overrides_of,
    plain,
    read_benchmark,
    resolve_config,
)
from scwm.core.yaml_files import read_yaml

LINES = list(dict.fromkeys(line for page in PAGES for line in shell_lines(page)))
MADE_UP = ("double_separation", "joined", "lobby")  # in docs/contributing.md, for test_extension.py


class Parsed(Exception):
    """The program has taken its arguments, and would now begin."""


@pytest.fixture
def python(monkeypatch):
    """``python -m MODULE …`` or ``python FILE …`` until its arguments are parsed."""
    parse = argparse.ArgumentParser.parse_args

    def only_parse(self, arguments=None, namespace=None):
        parse(self, arguments, namespace)
        raise Parsed

    def start(words: list[str]) -> None:
        run = runpy.run_module if words[0] == "-m" else runpy.run_path
        program, *arguments = words[1:] if words[0] == "-m" else [str(ROOT / words[0]), *words[1:]]
        with monkeypatch.context() as patched:
            patched.setattr(argparse.ArgumentParser, "parse_args", only_parse)
            patched.setattr(sys, "argv", [program, *arguments])
            with pytest.raises(Parsed):
                run(program, run_name="__main__")
        if "--" in arguments:  # scwm launch -- train …
            start(["-m", program, *arguments[arguments.index("--") + 1 :]])

    return start


def snakemake(words: list[str]) -> None:
    """The options, and the runs of the config; test_workflow.py builds graphs."""
    from snakemake.cli import parse_args, parse_config

    if "workflow/profiles/slurm" in words:
        pytest.importorskip("snakemake_executor_plugin_slurm")
    options = parse_args(words)[1]
    assert options.workflow_profile is None or Path(options.workflow_profile).is_dir()
    if any(name in word for name in MADE_UP for word in words):
        return
    (file,) = options.configfile or [Path("config/config.yaml")]
    values = merge(plain(load_benchmark(file)), parse_config(options.config))
    assert planned_configs(read_benchmark(values, file))


def torchrun(words: list[str], python) -> None:
    from torch.distributed.run import get_args_parser

    options = get_args_parser().parse_args(words)
    assert options.module
    python(["-m", options.training_script, *options.training_script_args])


def pip(words: list[str]) -> None:
    """The extras that a line names are the project's."""
    name, extras = re.fullmatch(r"(\w+)\[([\w,-]+)\]", words[-1]).groups()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert words[:-1] == ["install"] and name == project["name"]
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()


def export(words: list[str]) -> None:
    """The variable names a data set's source."""
    known = {yaml.safe_load(p.read_text()).get("env") for p in ROOT.glob("config/datasets/*.yaml")}
    assert words[0].partition("=")[0] in known


def make(words: list[str]) -> None:
    """There is a rule for the target."""
    stamps = ("-o", ".venv/.installed-demo", "-o", ".venv/.installed-dev")
    subprocess.run(["make", "-n", *stamps, *words], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("line", LINES)
def test_line_is_taken(line, python, monkeypatch, pytestconfig):
    monkeypatch.chdir(ROOT)
    program, *words = shlex.split(line)
    if program == "scwm":
        python(["-m", "scwm", *words])
    elif program == "python":
        python(words)
    elif program == "snakemake":
        snakemake(words)
    elif program == "torchrun":
        torchrun(words, python)
    elif program == "dvc":
        from dvc.cli import parse_args

        parse_args(words)
    elif program == ".venv/bin/pytest":
        found = pytestconfig._parser.parse(words)
        assert all(Path(name).exists() for name in found.file_or_dir)
    elif program == ".ci/run":
        assert os.access(program, os.X_OK) and not words
    elif program == "eval":  # argcomplete's own line, which need not be installed
        subprocess.run(["bash", "-n", "-c", line], check=True)
    else:
        {"make": make, "pip": pip, "export": export}[program](words)


def option(line: str, name: str) -> str:
    words = shlex.split(line)
    return words[words.index(name) + 1]


def test_documented_configs_fit_their_stores_and_are_those_of_the_workflow(tmp_path, monkeypatch):
    """A store of the size that a page names is the one that the run of its config asks for."""
    monkeypatch.chdir(ROOT)
    lines = [line for page in PAGES for line in shell_lines(page)]
    trained = {  # run -> image size of the store
        re.search(r" train (\S+)", line)[1]: re.search(r"/(\d+)x(\d+)$", option(line, "--store"))
        for line in lines
        if " train " in line and "scwm" in line and "--store" in line
    }
    checked = 0
    for line in lines:
        run = "scwm config " in line and option(line, "--out").removesuffix("/config.yaml")
        if not run or run not in trained:
            continue
        words = shlex.split(line.partition("scwm ")[2].replace(f"{run}/", f"{tmp_path}/"))
        assert main(words) == 0
        found = read_yaml(tmp_path / "config.yaml")
        assert found["model"]["image_size"] == [int(one) for one in trained[run].groups()]
        benchmark = plain(load_benchmark(ROOT / "config/config.yaml"))
        overrides = overrides_of(benchmark, found["dataset"])
        assert found == plain(resolve_config(found["method"], found["dataset"], 0, overrides))
        checked += 1
    assert checked == 3


@pytest.mark.parametrize("wrong", ["train RUN --stores STORE", "trian RUN", "data gets"])
def test_a_wrong_line_is_found(python, wrong):
    with pytest.raises(SystemExit):
        python(["-m", "scwm", *wrong.split()])

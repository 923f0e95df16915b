"""Bad input, case by case: one clear error with a remedy, exit status 1, and nothing written."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_files import FIRST, image, instead
from bad_input_cases import CASES, CONFIG, DECODE

from scwm.cli.main import main
from scwm.core.errors import ScwmError
from scwm.data.keypoints import read_keypoints
from scwm.evaluation import evaluate_ranking

ROOT = Path(__file__).resolve().parents[2]


def everything() -> dict[str, object]:
    """Every path below the working folder, with what must not change."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in sorted(Path().rglob("*"))
    }


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """The one error that was printed, with its place and its remedy."""
    out, err = capsys.readouterr()
    assert "Traceback" not in err and not out
    assert err.count("scwm: error:") == 1
    assert re.search(r"^  where:  \S", err, re.M) and re.search(r"^  remedy: \S", err, re.M), err
    return err


@pytest.fixture(autouse=True)
def home(tmp_path: Path, toy_store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder with a store, and no data set in the environment."""
    for name in [name for name in os.environ if name.startswith("SCWM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SCWM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    os.symlink(toy_store.folder, "toy")


@pytest.mark.parametrize("name", CASES)
def test_is_told_and_writes_nothing(name, capsys, monkeypatch):
    case = CASES[name]
    case.prepare(monkeypatch)
    before = everything()
    assert main([*case.words.split(), *case.more]) == 1
    told = error_of(capsys)
    assert all(part in told for part in case.told), told
    assert everything() == before and not Path("ran").exists()


@contextmanager
def read_only() -> Iterator[Path]:
    """A folder that the process may not write to, even where it is started by root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "words",
    [
        "config --method scwm --dataset d --out {}/run/config.yaml",
        "config --method scwm --dataset d --out {}/config.yaml",
        "data get mannequins --source {}/../ --out {}/data",
    ],
)
def test_read_only_folder_is_told(words, capsys):
    with read_only() as folder:
        source = Path(tempfile.mkdtemp(dir="/tmp"))
        words = words.replace("{}/../", str(source))
        assert main(words.format(folder).split()) == 1
        told = error_of(capsys)
        assert "Permission denied" in told and str(folder) in told and "may be read and" in told
        assert os.listdir(folder) == []
        source.rmdir()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "usage: scwm"),
        ("tables", "invalid choice: 'tables'"),
        ("plot pie --datasets d --methods m --seeds 0 --out x", "invalid choice: 'pie'"),
        (DECODE[:-3], "'64' is not of the form HxW"),
        (DECODE[:-5] + "0x64", "'0x64': give each as 32 to 4096"),
        (DECODE[:-5] + "99999x99999", "32 to 4096"),
        (f"{CONFIG} --seed one", "invalid int value: 'one'"),
        ("parse run a.png --output x.gif", "'x.gif' does not end in .png"),
        ("rank --queries q --gallery g --out toy/index.csv", "'toy/index.csv' is a file; give"),
        ("cluster run a.png --out toy/index.csv", "is a file; give the path of a folder"),
        ("parse run a.png --masks toy/index.csv", "is a file; give the path of a folder"),
        ("parse run a.png --output folder.png", "'folder.png' is a folder; give"),
        ("train run", "required: --store"),
    ],
)
def test_wrong_usage_is_told(words, told, capsys):
    Path("folder.png").mkdir()
    before = everything()
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err and everything() == before


def test_status_and_error_of_the_process():
    done = subprocess.run(
        [sys.executable, "-m", "scwm", "data", "get", "nothing", "--out", "x"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("scwm: error: unknown data set 'nothing'")
    assert "Traceback" not in done.stderr and os.listdir() == ["toy"]


SIDE = torch.eye(4), [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: evaluate_ranking(*SIDE, [1] * 4, *SIDE, [1] * 4), "from another camera"),
        (
            lambda: evaluate_ranking(*SIDE, [1] * 4, SIDE[0], [3, 3, 4, 4], [2] * 4),
            r"no query has a match.*4 queries.*share identities",
        ),
        (
            lambda: evaluate_ranking(SIDE[0] * torch.nan, SIDE[1], [1] * 4, *SIDE, [2] * 4),
            "infinities or NaN.*query.*diverged",
        ),
        (
            lambda: read_keypoints(Path("toy/index.csv"), np.arange(3)),
            "key points.*index.csv.*MATLAB",
        ),
    ],
)
def test_public_functions_tell(act, message):
    with pytest.raises(ScwmError, match=f"(?s){message}"):
        act()


def test_queries_without_a_match_are_passed_over():
    """One identity of two is in the gallery: it alone is scored, as the field does."""
    scores = evaluate_ranking(*SIDE, [1] * 4, SIDE[0], [1, 1, 3, 3], [2] * 4)
    alone = evaluate_ranking(SIDE[0][:2], [1, 1], [1] * 2, SIDE[0], [1, 1, 3, 3], [2] * 4)
    assert scores == alone


def test_other_colours_become_rgb(capsys):
    """Grey and CMYK images are no mistake."""
    for mode in ("L", "CMYK"):
        instead(FIRST, image(mode=mode, kind="tiff" if mode == "CMYK" else "png"))(None)
        assert main(DECODE.split()) == 0
        assert np.load("x/images.npy", mmap_mode="r").shape == (6, 64, 32, 3)
    assert json.loads(capsys.readouterr().out.splitlines()[0])["train"] == 2

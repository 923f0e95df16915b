"""Variables of the environment: an empty one counts as unset; a locale without our characters."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scwm.cli.main import main
from scwm.core.device import default_device
from scwm.core.distributed import together
from scwm.core.errors import ScwmError
from scwm.data import load_dataset
from scwm.data.entries import data_names, lookup
from scwm.models.weights import torchvision_weights

VARIABLES = sorted({entry.env for name in data_names() if (entry := lookup(name)).env})


def test_an_empty_device_is_the_default(monkeypatch):
    monkeypatch.delenv("SCWM_DEVICE", raising=False)
    expected = default_device()
    monkeypatch.setenv("SCWM_DEVICE", "")
    assert default_device() == expected


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_empty_source_is_none(scwm, told, monkeypatch, tmp_path, variable):
    """Not the current directory."""
    name = next(name for name in data_names() if lookup(name).env == variable)
    monkeypatch.setenv(variable, "")
    assert scwm(f"data get {name} --out", tmp_path / "raw" / name) == 1
    assert f"set {variable}" in told()


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/scwm"),
        ({"XDG_CACHE_HOME": "xdg", "SCWM_CACHE": "own"}, "own"),
        ({"XDG_CACHE_HOME": "", "SCWM_CACHE": ""}, ".cache/scwm"),
    ],
)
def test_unpacked_archives_are_cached_where_the_user_says(
    monkeypatch, tmp_path, toy_folder, variables, folder
):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "SCWM_CACHE"):
        value = variables.get(name, "")
        monkeypatch.setenv(name, str(tmp_path / value) if value else "")
    archive = shutil.make_archive(str(tmp_path / "toy"), "zip", toy_folder)
    monkeypatch.chdir(tmp_path)
    load_dataset("mannequins", archive)
    assert [path for path in Path(tmp_path / folder).iterdir() if path.is_dir()]


@pytest.mark.parametrize("home", [None, ""])
def test_a_user_without_home_is_asked_for_a_cache(monkeypatch, tmp_path, toy_folder, home):
    """As in a container under a user id that has no account."""

    def no_account(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", no_account)
    for name in ("HOME", "XDG_CACHE_HOME", "SCWM_CACHE", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    archive = shutil.make_archive(str(tmp_path / "toy"), "zip", toy_folder)
    with pytest.raises(ScwmError, match="set SCWM_CACHE"):
        load_dataset("mannequins", archive)
    if home is None:  # torch would make a folder named ~ here
        with pytest.raises(ScwmError, match="set TORCH_HOME"):
            torchvision_weights("ResNet18_Weights.IMAGENET1K_V1")
    monkeypatch.setenv("SCWM_CACHE", str(tmp_path / "own"))
    assert len(load_dataset("mannequins", archive).train)


def test_empty_variables_of_launchers_are_unset(monkeypatch, trained, scwm):
    """Those that torchrun and SLURM read: a training runs as without them."""
    from scwm.cli import launch
    from scwm.core.provenance import instruction_sets

    expected = instruction_sets()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_JOB_ID")
    for name in (*names, "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")
    run = "results/runs/mannequins/random_features/seed0"
    assert scwm(f"train {run} --store data/stores/toy") == 0
    assert scwm(f"evaluate {run} --store data/stores/toy") == 0
    assert instruction_sets() == expected
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for CUDA it means: no GPU
    assert launch.visible_gpus() == []
    with pytest.raises(ScwmError, match="1 GPU"):  # not taken for a job of SLURM
        launch.launch(1, 1, ["train", run])


@pytest.mark.parametrize("size", ["2", "many"])
def test_a_number_of_processes_without_torchrun_is_named(monkeypatch, size):
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.delenv("RANK", raising=False)
    wanted = rf"(?s)WORLD_SIZE is {size}, but .* RANK.*scwm launch"
    with pytest.raises(ScwmError, match=wanted), together(torch.device("cpu")):
        pass


@pytest.mark.parametrize(("given", "expected"), [("", ":4096:8"), (":16:8", ":16:8")])
def test_cublas_is_set_before_its_first_product(given, expected):
    """It reads the variable once in a process; deterministic training needs it."""
    program = "import os, scwm.core.device; print(os.environ['CUBLAS_WORKSPACE_CONFIG'])"
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": given}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == expected


def test_output_never_fails_on_a_character_that_the_locale_lacks(
    trained, toy_folder, tmp_path, monkeypatch
):
    """Nor do files depend on the locale."""
    run, crops = "results/runs/mannequins/scwm/seed0", f"{toy_folder}/query"
    names = "--datasets mannequins --methods scwm random_features --seeds 0"
    commands = [
        "data list",
        "data card market1501",
        "--help",
        f"compare {run} results/runs/mannequins/random_features/seed0 --json",
        f"table main {names} --out OUT/main",
        f"dashboard {run} --out OUT/dashboard.html",
        f"rank {run} --queries {crops} --gallery {crops} --out OUT",
        f"cluster {run} {crops} --out OUT",
        "config --method scwm --dataset mannequins --out OUT/config.yaml",
        "data card müller",
    ]
    code = (
        "import sys; from scwm.cli.main import main\n"
        "for words in sys.argv[1:]:\n"
        "    try: print(words.split()[0], main(words.split()))\n"
        "    except SystemExit as end: print(words.split()[0], end.code)\n"
    )
    statuses = [0] * (len(commands) - 1) + [1]
    variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    given = [words.replace("OUT", f"{tmp_path}/ascii") for words in commands]
    done = subprocess.run(
        [sys.executable, "-c", code, *given],
        cwd=trained,
        env=os.environ | variables | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    shown, error = done.stdout.decode("ascii"), done.stderr.decode("ascii")
    assert "Traceback" not in error and "unknown data set" in error, error
    assert [int(one) for one in re.findall(r"^\S+ (\d)$", shown, re.M)] == statuses

    monkeypatch.chdir(trained)
    for words, status in zip(commands, statuses, strict=True):
        with pytest.raises(SystemExit) as stopped:
            sys.exit(main(words.replace("OUT", f"{tmp_path}/utf-8").split()))
        assert stopped.value.code == status, words
    files = [path.relative_to(tmp_path / "utf-8") for path in (tmp_path / "utf-8").rglob("*.*")]
    assert len(files) >= 10
    for file in files:
        if file.suffix == ".html":  # says when it was made
            continue
        assert (tmp_path / "ascii" / file).read_bytes() == (tmp_path / "utf-8" / file).read_bytes()

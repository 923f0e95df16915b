"""Variables of the environment: an empty one counts as unset."""

import shutil
from pathlib import Path

import pytest

from scwm.core.device import default_device
from scwm.data import load_dataset
from scwm.data.entries import data_names, lookup

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

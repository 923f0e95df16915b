"""`scwm data list`, `card` and `verify`."""

import json
import shutil

import pytest

from scwm.cli.main import main
from scwm.core.errors import ScwmError
from scwm.data import data_names, get_dataset
from scwm.data.inspection import data_card, verify_dataset, whereabouts


def test_every_data_set_has_a_card():
    for name in data_names():
        card = data_card(name)
        assert all(card[key] for key in card if key != "counts"), name
        assert card["ethics"] != "–" and card["how to get it"] != "–", name


def test_whereabouts_follow_the_variable(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCWM_MSMT17", raising=False)
    assert whereabouts("msmt17") == "not here"
    assert whereabouts("mannequins") == "to be rendered"
    monkeypatch.setenv("SCWM_MSMT17", str(tmp_path))
    assert whereabouts("msmt17") == str(tmp_path)


def test_list_and_card_are_printed(capsys):
    assert main(["data", "list", "--json"]) == 0
    assert [card["name"] for card in json.loads(capsys.readouterr().out)] == data_names()
    assert main(["data", "list"]) == 0
    assert "12,936 / 3,368 / 15,913" in capsys.readouterr().out
    assert main(["data", "card", "msmt17"]) == 0
    text = capsys.readouterr().out
    assert "licence agreement" in text and max(map(len, text.splitlines())) <= 80


def test_counts_of_some_splits_are_enough(monkeypatch, capsys):
    card = {"name": "mine", "counts": {"train": 1234}, "here": "not here"}
    monkeypatch.setattr("scwm.data.data_names", lambda: ["mine"])
    monkeypatch.setattr("scwm.data.inspection.data_card", lambda _: card)
    assert main(["data", "list"]) == 0
    assert "1,234 / – / –" in capsys.readouterr().out


@pytest.fixture
def copy(toy_folder, tmp_path):
    shutil.copytree(toy_folder, tmp_path / "copy")
    get_dataset("mannequins", str(tmp_path / "copy"), tmp_path / "got")
    return tmp_path


@pytest.mark.parametrize("kind", ["changed", "missing", "new"])
def test_files_that_differ_are_told(copy, kind):
    """Of a folder that points elsewhere, as of one that holds the files."""
    files = len((copy / "got/manifest.csv").read_text().splitlines()) - 1
    assert f"{files:,} files" in verify_dataset("mannequins", copy / "got")
    file = copy / "copy/bounding_box_train/0001_c1s1_000000_01.jpg"
    mask = copy / "copy/masks/bounding_box_train/0001_c1s1_000000_01.png"
    if kind == "changed":
        file.write_bytes(file.read_bytes() + b" ")
    for path in (file, mask):
        if kind == "missing":
            path.unlink()
        elif kind == "new":
            shutil.copy(path, path.with_stem("0001_c1s1_000009_01"))
    with pytest.raises(ScwmError, match=f"a file is {kind}: .*0001_c1s1_00000"):
        verify_dataset("mannequins", copy / "got")


def test_folder_without_manifest_is_checked_by_its_layout(copy, toy_folder):
    assert "no hashes to compare with" in verify_dataset("mannequins", toy_folder)
    shutil.rmtree(copy / "copy/query")
    with pytest.raises(ScwmError, match="query"):
        verify_dataset("mannequins", copy / "copy")


def test_manifest_of_another_kind_is_told(copy):
    for text in ("", "a,b\n", "path,size,sha256\nx,large,0\n"):
        (copy / "got/manifest.csv").write_text(text)
        with pytest.raises(ScwmError, match="Not a manifest"):
            verify_dataset("mannequins", copy / "got")

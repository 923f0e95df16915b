"""The files of `scwm extract`: each kind holds what the .npz of the same crops holds."""

import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scwm.inference import feature_files, features
from scwm.inference.feature_files import save_features
from scwm.inference.features import CropFeatures


@pytest.fixture
def expected(call, tmp_path):
    """The .npz of the toy queries."""
    assert call("extract {run} {query} --out {tmp}/f.npz") == 0
    return np.load(tmp_path / "f.npz")


def test_parquet_without_its_package_is_told(call, tmp_path, capsys, monkeypatch):
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    monkeypatch.setattr(features, "crop_features", None)  # told before it is needed
    assert call("extract {run} {query} --out {tmp}/f.parquet") == 1
    assert "pip install pyarrow" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "other"), [("f.npy", "f.json"), ("f.tsv", "projector_config.pbtxt")]
)
def test_a_file_in_the_way_is_told_before_the_features_are_computed(
    call, tmp_path, capsys, monkeypatch, name, other
):
    monkeypatch.setattr(features, "crop_features", None)
    (tmp_path / other).write_text("mine")
    assert call(f"extract {{run}} {{query}} --out {{tmp}}/{name}") == 1
    assert "another file has this name" in capsys.readouterr().err
    assert (tmp_path / other).read_text() == "mine"


def test_parquet_holds_the_same(call, expected, tmp_path):
    from pyarrow import parquet

    assert call("extract {run} {query} --out {tmp}/f.parquet") == 0
    table = parquet.read_table(tmp_path / "f.parquet")
    assert table["name"].to_pylist() == expected["names"].tolist()
    assert np.array_equal(np.array(table["feature"].to_pylist(), np.float32), expected["features"])
    assert table.schema.metadata[b"feature"] == str(expected["feature"]).encode()


def test_npy_holds_the_same_with_the_names_next_to_it(call, expected, tmp_path):
    assert call("extract {run} {query} --out {tmp}/f.npy") == 0
    assert np.array_equal(np.load(tmp_path / "f.npy"), expected["features"])
    about = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert about == {"feature": str(expected["feature"]), "names": expected["names"].tolist()}


def test_csv_gives_the_same_numbers_again(call, expected, tmp_path):
    assert call("extract {run} {query} --out {tmp}/f.csv") == 0
    with (tmp_path / "f.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    width = expected["features"].shape[1]
    assert header == ["name", *(f"{expected['feature']}_{column}" for column in range(width))]
    assert [name for name, *_ in rows] == expected["names"].tolist()
    assert np.array_equal(np.array([r for _, *r in rows], np.float32), expected["features"])


# TensorBoard's projector


def test_the_projector_gets_features_labels_and_pictures(call, expected, toy_folder, tmp_path):
    """Identities and cameras are in the names of the toy crops."""
    assert call("extract {run} {query} --out {tmp}/view/crops.tsv") == 0
    tensors = np.loadtxt(tmp_path / "view/crops.tsv", np.float32, delimiter="\t")
    assert np.array_equal(tensors, expected["features"])
    header, *lines = (tmp_path / "view/crops.metadata.tsv").read_text().splitlines()
    cells = [line.split("\t") for line in lines]
    assert header == "name\tidentity\tcamera"
    assert [name for name, *_ in cells] == expected["names"].tolist()
    for name, identity, camera in cells:
        assert Path(name).name.startswith(f"{int(identity):04d}_c{camera}")
    sprite = Image.open(tmp_path / "view/crops.sprite.png")
    columns = math.ceil(math.sqrt(len(cells)))
    width, height = feature_files.THUMBNAIL
    for number, (name, *_) in enumerate(cells):
        left, top = number % columns * width, number // columns * height
        shown = sprite.crop((left, top, left + width, top + height))
        assert np.array_equal(np.array(shown), np.array(Image.open(name))), "a crop of 32x64 pixels"


def test_tensorboard_finds_what_the_config_of_the_projector_names(call, tmp_path):
    pytest.importorskip("tensorboard")
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    assert call('extract {run} {query} --out {tmp}/"ä".tsv') == 0
    text = (tmp_path / "projector_config.pbtxt").read_text(encoding="utf-8")
    (named,) = text_format.Parse(text, ProjectorConfig()).embeddings
    for path in (named.tensor_path, named.metadata_path, named.sprite.image_path):
        assert (tmp_path / path).is_file(), path
    assert tuple(named.sprite.single_image_dim) == feature_files.THUMBNAIL


def test_many_crops_fit_the_largest_picture_of_a_browser(toy_folder, tmp_path, monkeypatch):
    """Names without identity are labels without a header; a tab in one starts no column."""
    monkeypatch.setattr(feature_files, "SPRITE", 100)
    file = next((toy_folder / "query").iterdir())
    files = [tmp_path / f"a\t{number}.jpg" for number in range(10)]
    for path in files:
        path.symlink_to(file)
    save_features(CropFeatures(files, np.eye(10, dtype=np.float32), "both"), tmp_path / "f.tsv")
    assert Image.open(tmp_path / "f.sprite.png").size == (4 * 25, 3 * 25)
    text = (tmp_path / "f.metadata.tsv").read_text()
    assert text.splitlines() == [str(path).replace("\t", " ") for path in files]

"""Loaders on small trees, on MSMT17's real lists and on the real Market-1501."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from scwm.core.errors import ScwmError
from scwm.data import get_dataset, load_dataset
from scwm.data.entries import lookup
from scwm.data.layouts import folder, market1501, msmt17
from scwm.data.registry import check_files

MARKET = os.environ.get("SCWM_MARKET1501")
LISTS = os.environ.get("SCWM_MSMT17_LISTS")
NAMES = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0007_c6s1_0_01.jpg.jpg", "Thumbs.db"],
    "query": ["0001_c2s1_001051_00.jpg"],
    "bounding_box_test": ["-1_c1s1_000401_03.jpg", "0000_c3s1_1_01.jpg", "0001_c5s1_1_01.jpg"],
}


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def market(tmp_path):
    root = tmp_path / "source/Market-1501-v15.09.15"
    touch(*(root / name / file for name, files in NAMES.items() for file in files))
    return root


def test_market_layout(market):
    for source in (market, market.parent):
        data = market1501.load(source, "market1501")
        assert data.train.ids.tolist() == [2, 7] and data.train.cameras.tolist() == [1, 6]
        assert data.query.ids.tolist() == [1] and data.query.cameras.tolist() == [2]
        assert data.gallery.ids.tolist() == [0, 1]  # junk dropped, the distractor kept
        assert data.root == market and data.train.masks is None


def test_market_masks_lie_beside_the_images(market):
    masks = {
        name: [market / "masks" / name / f"{Path(file).stem}.png" for file in files]
        for name, files in NAMES.items()
    }
    touch(*(path for paths in masks.values() for path in paths))
    data = market1501.load(market, "toy", mask_parts=["body"])
    assert data.train.masks == tuple(masks["bounding_box_train"][:2])
    assert data.mask_parts == ("body",)
    masks["query"][0].unlink()
    with pytest.raises(ScwmError, match="without a mask"):
        market1501.load(market, "toy")


def plain_halves(folder):
    """Names of development images by split, one image after the other."""
    names = sorted(path.name for path in folder.glob("[0-9]*.jpg"))
    identities = sorted({int(name.split("_")[0]) for name in names})
    splits = {"train": [], "query": [], "gallery": []}
    seen = set()
    for name in names:
        identity, camera = int(name.split("_")[0]), name.split("_")[1][:2]
        if identities.index(identity) % 2 == 0:
            splits["train"].append(name)
        else:
            splits["gallery" if (identity, camera) in seen else "query"].append(name)
            seen.add((identity, camera))
    return splits


def names_of(data):
    return {name: [path.name for path in split.paths] for name, split in data.splits.items()}


@pytest.mark.parametrize("masked", [False, True])
def test_development_data_are_halves_of_the_training_identities(tmp_path, masked):
    """Without the folders of the test identities, which are not read."""
    train, rng = tmp_path / "market/bounding_box_train", np.random.default_rng(0)
    for identity in (2, 7, 10, 11, 13, 40, 41):
        for number in range(8):
            touch(train / f"{identity:04d}_c{rng.integers(1, 4)}s1_{number:06d}_01.jpg")
    masks = [tmp_path / f"market/masks/{train.name}/{path.stem}.png" for path in train.iterdir()]
    touch(*(masks if masked else []), train / "-1_c1s1_000401_03.jpg")
    data = market1501.load(tmp_path, "toy", development=True)
    assert names_of(data) == plain_halves(train)
    assert set(data.train.ids) == {2, 10, 13, 41} and set(data.query.ids) == {7, 11, 40}
    for split in data.splits.values():
        assert split.ids.tolist() == [int(path.name[:4]) for path in split.paths]
        found = [path.stem for path in split.masks or ()]
        assert found == ([path.stem for path in split.paths] if masked else [])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda root: touch(root / "query/person.jpg"), r"(?s)identity and camera.*person\.jpg"),
        (lambda root: (root / "query" / NAMES["query"][0]).unlink(), "no images in the split"),
        (lambda root: shutil.rmtree(root / "query"), "missing query"),
        (lambda root: shutil.rmtree(root), "missing bounding_box_train"),
    ],
)
def test_market_faults_are_named(market, fault, message):
    fault(market)
    with pytest.raises(ScwmError, match=message):
        market1501.load(market.parent, "market1501")


def test_two_copies_are_ambiguous(market):
    shutil.copytree(market, market.with_name("copy"))
    with pytest.raises(ScwmError, match="several copies"):
        market1501.load(market.parent, "market1501")


def test_counts_other_than_the_standard_are_noted(market):
    assert "2 train (standard 12,936)" in load_dataset("market1501", market).note


def msmt_tree(root, layout=("train", "test"), extra=""):
    lists = {
        "train": ["0000/0000_045_12_0303morning_0006_2.jpg 0"],
        "val": ["0001/0001_001_07_0303noon_0008_2_ex.jpg 1"],
        "query": ["0000/0000_000_01_0303morning_0015_0.jpg 0"],
        "gallery": ["0000/0000_008_15_0303morning_0019_2.jpg 0"],
    }
    lists["val"] += [extra] if extra else []
    root.mkdir(parents=True)
    for name, lines in lists.items():
        (root / f"list_{name}.txt").write_text("\n".join(lines) + "\n")
        images = root / layout[name in ("query", "gallery")]
        touch(*(images / line.split()[0] for line in lines if line != extra))
    return root


@pytest.mark.parametrize(("version", "layout"), msmt17.LAYOUTS.items())
def test_msmt17_own_layouts(tmp_path, version, layout):
    msmt_tree(tmp_path / "nested/MSMT17", layout)
    data = msmt17.load(tmp_path / "nested", "msmt17")
    assert data.note == f"{version}; train = list_train + list_val"
    assert data.train.ids.tolist() == [0, 1] and data.train.cameras.tolist() == [12, 7]
    assert data.gallery.cameras.tolist() == [15] and len(data.lists) == 4
    alone = msmt17.load(tmp_path / "nested", "msmt17", train_lists=["train"])
    assert len(alone.train) == 1 and alone.note == f"{version}; train = list_train"


def test_msmt17_market_style(market):
    data = msmt17.load(market.parent, "msmt17")
    assert len(data.train) == 2 and "Market-style" in data.note
    with pytest.raises(ScwmError, match="does not separate list_train"):
        msmt17.load(market, "msmt17", train_lists=["train"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../../etc/0000_000_01_x.jpg 0", "outside of its folder"),
        ("/etc/0000_000_01_x.jpg 0", "outside of its folder"),
        ("0000/0000_000_01_x.jpg", "not a line"),
        ("0000/person.jpg 0", "not a line"),
        ("0000/0000_000_01_absent.jpg 0", "1 of 2 images in list_val.txt are absent"),
    ],
)
def test_msmt17_list_faults_are_named(tmp_path, line, message):
    with pytest.raises(ScwmError, match=message):
        msmt17.load(msmt_tree(tmp_path / "MSMT17", extra=line), "msmt17")


def test_msmt17_without_source_says_whom_to_ask(tmp_path, monkeypatch):
    monkeypatch.delenv("SCWM_MSMT17", raising=False)
    monkeypatch.chdir(tmp_path)
    for act in (lambda: load_dataset("msmt17"), lambda: get_dataset("msmt17", None, Path("out"))):
        with pytest.raises(ScwmError, match=r"(?s)licence agreement.*pkuvmc.*--source"):
            act()
    assert not Path("out").exists()


def test_folder_of_images(tmp_path):
    touch(*(tmp_path / f"{n}.jpg" for n in ("0001_c1_1", "0001_c1_2", "0001_c2_1", "0002_c1_1")))
    data = folder.load(tmp_path, "folder")
    assert len(data.train) == len(data.gallery) == 4 and "no splits" in data.note
    queries = zip(data.query.ids.tolist(), data.query.cameras.tolist(), strict=True)
    assert sorted(queries) == [(1, 1), (1, 2), (2, 1)]


def test_folder_with_splits(tmp_path, market):
    touch(tmp_path / "crops/train/0001_c1.jpg", tmp_path / "crops/gallery/0003_c2.jpg")
    data = folder.load(tmp_path / "crops", "folder")
    assert (len(data.train), len(data.query), len(data.gallery)) == (1, 0, 1)
    assert len(folder.load(market.parent, "folder").gallery) == 2


def test_folder_csv(tmp_path):
    touch(tmp_path / "a/1.jpg", tmp_path / "b.png")
    table = tmp_path / "images.csv"
    table.write_text("path,identity,camera,split\na/1.jpg,5,2,train\nb.png,6,3,query\n")
    for source in (tmp_path, table):
        data = folder.load(source, "folder")
        assert data.train.ids.tolist() == [5] and data.query.cameras.tolist() == [3]
    table.write_text("path,identity,camera\na/1.jpg,5,2\nb.png,6,3\n")
    assert len(folder.load(table, "folder").query) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("identity,camera\n1,1\n", "columns are identity, camera"),
        ("path,identiy\na.jpg,1\n", "columns are .* mean 'identity'"),
        ("path,identity,camera\na.jpg,x,1\n", r"(?s)identity 'x' is not a whole.*line 2"),
        ("path,identity,camera\n\na.jpg,1,1\na.jpg,1,1.5\n", r"(?s)camera '1\.5' is.*line 4"),
        ("path,identity,camera\na.jpg,1\n", r"(?s)fewer values than columns.*line 2"),
        ("path,identity,camera\na.jpg,1,1,1\n", r"(?s)more values than columns.*line 2"),
        ("path,identity,camera,splits\na.jpg,1,1,train\n", "columns are .*splits"),
        ("path;identity,camera\na.jpg,1,1\n", "columns are path;identity"),
        ("path,identity,camera\nabsent.jpg,1,1\n", "no image 'absent.jpg'"),
        ("path,identity,camera,split\na.jpg,1,1,test\n", "split 'test'"),
        ("path,identity,camera\n", "names no image"),
    ],
)
def test_folder_csv_faults_are_named(tmp_path, text, message):
    touch(tmp_path / "a.jpg")
    (tmp_path / "images.csv").write_text(text)
    with pytest.raises(ScwmError, match=message):
        folder.load(tmp_path, "folder")


@pytest.mark.parametrize(
    "text",
    [
        "path;identity;camera\nsub/a.jpg;7;2\n",
        "path\tidentity\tcamera\nsub/a.jpg\t7\t2\n",
        "path, identity, camera\nsub/a.jpg, 7, 2\n",
        "path,identity,camera\nsub\\a.jpg,7,2\n",
        "path,identity,camera\n.\\sub\\a.jpg,7,2\n",
        "path,identity,camera\nsub/a.jpg,7.0,2.00\n",
        'width,path,identity,camera,note\n64,sub/a.jpg,7,2,"tall; far"\n',
        "\ufeffpath,identity,camera\r\nsub/a.jpg,7,2\r\n",
    ],
)
def test_folder_csv_as_other_programs_write_it(tmp_path, caplog, text):
    touch(tmp_path / "sub/a.jpg")
    (tmp_path / "images.csv").write_text(text)
    data = folder.load(tmp_path, "folder")
    assert data.train.paths == (tmp_path / "sub/a.jpg",)
    assert data.train.ids.tolist() == [7] and data.train.cameras.tolist() == [2]
    assert ("columns passed over: width, note" in caplog.text) == ("width" in text)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.jpg,1,1,train", "a.jpg,2,1,train"], "identity 1 at .* identity 2 at"),
        (["a.jpg,1,1,query", "./b/../a.jpg,2,1,gallery"], "identity 1 at .* identity 2 at"),
        (["a.jpg,1,1,train", "a.jpg,1,2,gallery"], "at camera 1 and .* at camera 2"),
        (["a.jpg,1,1,train", "a.jpg,1,1,train"], "twice in train"),
    ],
)
def test_one_image_under_two_identities_is_refused(tmp_path, lines, message):
    touch(tmp_path / "a.jpg", tmp_path / "b/c.jpg")
    (tmp_path / "images.csv").write_text("\n".join(["path,identity,camera,split", *lines]))
    with pytest.raises(ScwmError, match=rf"(?s){message}.*a\.jpg"):
        load_dataset("folder", tmp_path)


def test_one_image_under_two_identities_is_refused_in_lists(tmp_path):
    root = msmt_tree(tmp_path / "MSMT17")
    with (root / "list_gallery.txt").open("a") as file:
        file.write("0000/0000_008_15_0303morning_0019_2.jpg 3\n")
    with pytest.raises(ScwmError, match=r"identity 0 at .* identity 3 at"):
        load_dataset("msmt17", root)


@pytest.mark.skipif(not MARKET, reason="SCWM_MARKET1501 names no Market-1501")
def test_real_market(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SCWM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    full = load_dataset("market1501")
    assert full.note == ""  # counts are the registry's: 12,936 / 3,368 / 15,913, 751 / 750
    assert [len(split) for split in full.splits.values()] == [12936, 3368, 15913]
    assert (full.gallery.ids == 0).sum() == 2798
    names = [name for name in os.listdir(full.root / "bounding_box_test") if "jpg" in name]
    assert sum(name.startswith("-1") for name in names) == 3819
    assert {int(re.findall(r"_c(\d)", path.name)[0]) for path in full.train.paths} == set(
        np.unique(full.train.cameras)
    )
    unpacked = load_dataset("market1501", full.root)
    assert unpacked.gallery.paths == full.gallery.paths
    small = load_dataset("market1501_small")
    assert [len(split) for split in small.splits.values()] == [3871, 906, 3971]
    assert small.note.startswith("easier protocol") and 0 not in small.gallery.ids
    half, small = load_dataset("market1501_dev"), load_dataset("market1501_dev_small")
    assert names_of(half) == plain_halves(full.root / "bounding_box_train")
    for data in (half, small):  # the registry's counts and hash; what it is, with every result
        check_files(lookup(data.name), data.root.parent)
        assert data.note.startswith("development data") and "standard" not in data.note
    assert set(small.train.ids) == set(np.unique(half.train.ids)[:200])
    assert set(small.query.ids) == set(np.unique(half.query.ids)[:200]) >= set(small.gallery.ids)


@pytest.mark.skipif(not LISTS, reason="SCWM_MSMT17_LISTS names no folder of MSMT17's lists")
def test_real_msmt17_lists(tmp_path, monkeypatch):
    """The real lists, the images taken to be there."""
    root = tmp_path / "MSMT17"
    for name in ("train", "test"):
        (root / name).mkdir(parents=True)
    for path in Path(LISTS).glob("list_*.txt"):
        shutil.copyfile(path, root / path.name)
    is_file = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda p: p.suffix == ".jpg" or is_file(p))
    data = load_dataset("msmt17", root)
    assert data.note == "V1; train = list_train + list_val"  # and the registry's counts
    assert [len(split) for split in data.splits.values()] == [32621, 11659, 82161]
    assert len(np.unique(data.train.ids)) == 1041 and len(np.unique(data.gallery.ids)) == 3060
    assert set(data.train.cameras) == set(range(1, 16))

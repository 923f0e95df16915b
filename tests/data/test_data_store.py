"""The decoded store against Pillow's own resize, and its faults."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from scwm.core.errors import ScwmError
from scwm.data.layouts.market1501 import load
from scwm.data.store import ImageStore, build_store

FOLDERS = ("bounding_box_train", "query", "bounding_box_test")


@pytest.fixture
def dataset(tmp_path):
    """Nine images of mixed modes, with masks."""
    rng = np.random.default_rng(0)
    for folder in FOLDERS:
        (tmp_path / "data/masks" / folder).mkdir(parents=True)
        (tmp_path / "data" / folder).mkdir()
        for person in (1, 2, 3):
            image = Image.fromarray(rng.integers(0, 256, (40, 20, 3), dtype=np.uint8))
            mode = {1: "RGB", 2: "L", 3: "CMYK"}[person]
            stem = f"{person:04d}_c{person}s1_0_0"
            image.convert(mode).save(tmp_path / "data" / folder / f"{stem}.jpg")
            mask = Image.fromarray(rng.integers(0, 3, (40, 20), dtype=np.uint8))
            mask.save(tmp_path / "data/masks" / folder / f"{stem}.png")
    return load(tmp_path / "data", "toy", mask_parts=("upper", "lower"))


def test_rows_are_the_resized_images(dataset, tmp_path):
    store = build_store(dataset, tmp_path / "store", (32, 16))
    assert store.image_size == (32, 16)
    assert store.info["counts"] == {"train": 3, "query": 3, "gallery": 3}
    assert store.info["mask_parts"] == ["upper", "lower"]
    for name, split in dataset.splits.items():
        rows = store.split(name)
        assert len(rows) == 3 and rows.images.dtype == np.uint8
        np.testing.assert_array_equal(rows.ids, split.ids)
        np.testing.assert_array_equal(rows.cameras, split.cameras)
        for row in range(3):
            assert dataset.root / rows.paths[row] == split.paths[row]
            image = Image.open(split.paths[row]).convert("RGB")
            np.testing.assert_array_equal(
                rows.images[row], image.resize((16, 32), Image.Resampling.BICUBIC)
            )
            mask = Image.open(split.masks[row]).resize((16, 32), Image.Resampling.NEAREST)
            np.testing.assert_array_equal(rows.masks[row], mask)


def test_hash_depends_on_content_only(dataset, tmp_path):
    one, two = (build_store(dataset, tmp_path / name, (32, 16)).info for name in "ab")
    assert one == two
    path = dataset.train.paths[0]
    Image.new("RGB", (20, 40)).save(path)
    two = build_store(dataset, tmp_path / "a", (32, 16)).info
    assert one["content_hash"] != two["content_hash"]


def test_without_masks(dataset, tmp_path):
    bare = replace(
        dataset, **{k: replace(s, masks=None) for k, s in dataset.splits.items()}, mask_parts=()
    )
    store = build_store(bare, tmp_path / "store", (32, 16))
    assert store.split("train").masks is None
    assert not (tmp_path / "store/masks.npy").exists()


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_corrupt_image_is_named_and_leaves_no_store(dataset, tmp_path, content):
    path = dataset.gallery.paths[1]
    path.write_bytes(path.read_bytes()[:300] if content is None else content)
    with pytest.raises(ScwmError, match=path.name):
        build_store(dataset, tmp_path / "stores/toy", (32, 16))
    assert list((tmp_path / "stores").iterdir()) == []


def test_mask_faults_are_named(dataset, tmp_path):
    with pytest.raises(ScwmError, match="mask value 2 with 1 named"):
        build_store(replace(dataset, mask_parts=("one",)), tmp_path / "store", (32, 16))
    Image.new("L", (3, 3)).save(dataset.train.masks[0])
    with pytest.raises(ScwmError, match="image's size"):
        build_store(dataset, tmp_path / "store", (32, 16))


def test_broken_store_is_an_error(dataset, tmp_path):
    with pytest.raises(ScwmError, match="not an image store"):
        ImageStore(tmp_path)
    folder = build_store(dataset, tmp_path / "store", (32, 16)).folder
    index = (folder / "index.csv").read_text()
    for damaged in (index.replace(",1,", ",one,"), index.replace(",1,", f",{2**64},"), index[:-3]):
        (folder / "index.csv").write_text(damaged)
        with pytest.raises(ScwmError, match="not an image store"):
            ImageStore(folder)
    (folder / "index.csv").write_text(index)
    with pytest.raises(ScwmError, match="no split 'test'"):
        ImageStore(folder).split("test")
    info = json.loads((folder / "store.json").read_text())
    info["counts"]["train"] = 4
    (folder / "store.json").write_text(json.dumps(info))
    with pytest.raises(ScwmError, match="lists 10 images"):
        ImageStore(folder)

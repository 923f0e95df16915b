"""Folders and archives of crops as people keep them: links, odd names, other files."""

import io
import os
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from bad_files import image

from scwm.core.errors import ScwmError
from scwm.data import get_dataset, load_dataset
from scwm.data.files import list_images
from scwm.data.images import read_image
from scwm.inference.features import find_crops

SPLITS = ("train", "query", "gallery")


@pytest.fixture(autouse=True)
def away(tmp_path, monkeypatch):
    """An empty working folder, and no data set in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCWM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCWM_FOLDER", raising=False)


def make_crops(root, *names):
    for name in names or [f"000{one}_c{camera}.png" for one in (1, 2) for camera in (1, 2)]:
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(kind="png"))
    return Path(root)


def get(source):
    return get_dataset("folder", source, Path("data/raw/folder")).read_text()


# Links


@pytest.mark.parametrize("target", ["gone.png", "0003_c1.png"])  # the other one is its own
def test_dangling_link_is_named(target):
    crops = make_crops("crops")
    (crops / "0003_c1.png").symlink_to(target)
    with pytest.raises(ScwmError, match=r"(?s)a link that leads nowhere.*0003_c1\.png.*mend"):
        get(crops)
    with pytest.raises(ScwmError, match=r"(?s)a link that leads nowhere.*0003_c1\.png"):
        read_image(find_crops([crops])[-1])
    assert len(load_dataset("folder", crops).train) == 5, "no image is left out in silence"


def test_dangling_link_to_a_folder_is_named():
    make_crops("crops").joinpath("more").symlink_to("gone")
    assert find_crops([Path("crops")])[-1] == Path("crops/more")


def test_linked_subfolder_is_followed_once():
    make_crops("elsewhere", "b.png", "deeper/c.png")
    make_crops("crops", "a.png", "own/d.png")
    for name, target in {
        "crops/link": "../elsewhere",
        "crops/same": "../elsewhere",
        "crops/own/up": "..",
        "elsewhere/self": ".",
    }.items():
        Path(name).symlink_to(target)
    names = ["a.png", "link/b.png", "link/deeper/c.png", "own/d.png"]
    assert find_crops([Path("crops")]) == [Path("crops", name) for name in names]


def test_links_to_images_and_splits_are_followed():
    make_crops("elsewhere")
    for split in SPLITS:
        Path("crops", split).parent.mkdir(exist_ok=True)
        Path("crops", split).symlink_to("../elsewhere")
    assert get("crops").count("\n") == 1 + 3 * 4
    shutil.rmtree("crops")
    Path("crops").mkdir()
    for path in Path("elsewhere").iterdir():
        Path("crops", path.name).symlink_to(path.absolute())
    assert get("crops").count("\n") == 1 + 4


# Rights


@pytest.fixture
def locked():
    """`crops` with a sub-folder that may not be read, also where root runs the tests."""
    home = Path(tempfile.mkdtemp())
    home.chmod(0o755)
    crops, secret = make_crops(home / "crops"), make_crops(home / "crops/query")
    crops.chmod(0o777)
    secret.chmod(0)
    "".encode("utf-8-sig")  # imports a module, which the other user may not
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield crops
    finally:
        if root:
            os.seteuid(0)
        secret.chmod(0o755)
        shutil.rmtree(home)


def test_unreadable_subfolder_is_named(locked):
    for read in (lambda: find_crops([locked]), lambda: load_dataset("folder", locked)):
        with pytest.raises(ScwmError, match=r"(?s)Permission denied.*crops/query.*permissions"):
            read()
    for text in ("query/0001_c1.png,1,1", "query/absent.png,1,1"):
        table = locked / "images.csv"
        table.write_text(f"path,identity,camera\n{text}\n")
        with pytest.raises(ScwmError, match="Permission denied"):
            load_dataset("folder", table)


# Names


@pytest.mark.parametrize("name", [b"a\xff.png", b"fol\xffder/a.png"])
def test_name_that_is_not_utf_8_is_told(name):
    path = make_crops("crops", os.fsdecode(name)) / os.fsdecode(name)
    for paths in ([Path("crops")], [path], [path.parent]):
        with pytest.raises(ScwmError, match=r"(?s)not UTF-8.*\\udcff.*rename it"):
            find_crops(paths)
    make_crops(path.parent)
    path.unlink()
    if path.parent.name != "crops":  # the folder of the data set
        with pytest.raises(ScwmError, match=r"(?s)not UTF-8.*\\udcff.*rename it"):
            get(path.parent)


# Kinds of images


@pytest.mark.parametrize("kind", ["webp", "tiff", "gif", "ppm", "jpeg", "bmp", "avif"])
def test_every_common_kind_of_image_is_read(kind):
    crops = make_crops("crops")
    (crops / f"0003_c1.{kind}").write_bytes(image(kind=kind))
    (crops / f"0003_c2.{kind.upper()}").write_bytes(image(kind=kind))
    assert len(load_dataset("folder", crops).train) == 6
    for path in find_crops([crops]):
        assert read_image(path).size == (20, 40)


def test_files_of_other_kinds_are_counted(caplog):
    crops = make_crops("crops", "0001_c1.png", "sub/0001_c2.png")
    for name in ("a.heic", "sub/b.heic", "Thumbs.db", ".hidden", "sub/.c.heic"):
        (crops / name).touch()
    assert len(find_crops([crops])) == 2
    assert "files of other types: 2 passed over, such as crops/a.heic" in caplog.text
    caplog.clear()
    assert len(list_images(crops)) == 1
    assert "other files and folders: 2 passed over, such as crops/a.heic" in caplog.text
    caplog.clear()
    (crops / "a.heic").unlink()
    (crops / "sub/b.heic").unlink()
    find_crops([crops])
    assert not caplog.text


# Labels


def test_names_without_labels_are_unlabelled_images(caplog):
    make_crops("crops", *(f"day {n % 2}/{n}.png" for n in range(20)))
    Path("crops/images.txt").touch()
    lines = get("crops").splitlines()
    assert len(lines) == 1 + 20 and "folder: query and gallery without identities" in caplog.text
    data = load_dataset("folder", "data/raw/folder")
    assert [len(split) for split in data.splits.values()] == [20, 8, 20]
    assert set(data.train.ids) == {-1} and set(data.query.paths) < set(data.gallery.paths)
    assert data.note.endswith("; query and gallery without identities")


def test_csv_of_paths_only_has_no_labels(caplog):
    """Although the names hold some, and a column has another name."""
    crops = make_crops("crops")
    names = sorted(path.name for path in crops.iterdir())
    (crops / "images.csv").write_text("path,width\n" + "".join(f"{one},64\n" for one in names))
    assert get(crops).count("\n") == 1 + 4 + 1  # and the CSV
    data = load_dataset("folder", crops)
    assert data.train.ids.tolist() == [-1] * 4 and len(data.query) == 4
    (crops / "images.csv").write_text("path,camera\n" + "".join(f"{n},{n[6]}\n" for n in names))
    assert load_dataset("folder", crops).train.cameras.tolist() == [1, 2, 1, 2], "for the sampler"


def test_identity_subfolders_are_understood():
    for split in SPLITS:
        make_crops(Path("crops", split), "0002/1.png", "0002/2.png", "7/1.png", "7/2.png")
    make_crops("crops", "gallery/-1/junk.png")
    get("crops")
    data = load_dataset("folder", "crops")
    assert [split.ids.tolist() for split in data.splits.values()] == [[2, 2, 7, 7]] * 3
    cameras = [camera for split in data.splits.values() for camera in split.cameras]
    assert len(set(cameras)) == 12 and max(cameras) < 0, "each image has its own"
    assert data.note == "one camera or none: only the query's own file is left out"
    shutil.rmtree("crops/query")
    shutil.rmtree("crops/gallery")
    data = load_dataset("folder", "crops")
    assert data.gallery.ids.tolist() == [2, 2, 7, 7] and data.query.ids.tolist() == [2, 7]


@pytest.mark.parametrize("day", ["2024010%d", "2024-01-0%d", "2024/01/0%d", "2024010%d123000"])
@pytest.mark.parametrize("root", ["crops", "crops/train"])
def test_subfolders_named_by_dates_are_no_identities(root, day, caplog):
    make_crops(root, *(f"{day % n}/{k}.png" for n in (1, 2) for k in (1, 2)))
    get("crops")
    assert "sub-folders named by dates: 2 not taken for identities, such as" in caplog.text
    assert "query and gallery without identities: nothing will be scored" in caplog.text
    assert load_dataset("folder", "crops").train.ids.tolist() == [-1] * 4


def test_dates_and_identities_are_not_mixed(caplog):
    make_crops("crops", "20240101/1.png", "0002/1.png", "0002/2.png")
    with pytest.raises(ScwmError, match=r"(?s)2 of 3 images have one.*20240101/1\.png"):
        get("crops")
    assert "crops/20240101; if they are, list the images in images.csv" in caplog.text


@pytest.mark.parametrize(
    ("name", "identity"),
    [("1230", 1230), ("20241301", 20241301), ("120240101", 120240101), ("2024-01-01/0002", 2)],
)
def test_numbers_that_are_no_dates_are_identities_and_the_log_says_so(name, identity, caplog):
    caplog.set_level("INFO", "scwm")
    data = load_dataset("folder", make_crops("crops", f"{name}/1.png", "7/1.png"))
    assert set(data.train.ids) == {identity, 7} and "dates" not in caplog.text
    assert "sub-folders taken for identities: 2, such as" in caplog.text


def test_a_name_with_an_identity_counts_in_a_folder_of_a_date(caplog):
    data = load_dataset("folder", make_crops("crops", "20240101/0002_c1.png", "0003_c1.png"))
    assert data.train.ids.tolist() == [3, 2] and not caplog.text


def test_splits_may_have_capital_letters():
    for split in SPLITS:
        make_crops(Path("crops", split.capitalize()), "0002/1.png", "0002/2.png", "7/1.png")
    assert [len(split) for split in load_dataset("folder", "crops").splits.values()] == [3] * 3


def test_names_of_msmt17_are_understood():
    names = ("0000_045_12_0303morning_0006_2.png", "0001_001_07_0303noon_0008_2_ex.png")
    make_crops("crops", *names, "0001_002_3_0302afternoon_0008_2.png", "0001_c4.png")
    data = load_dataset("folder", "crops")
    assert data.train.ids.tolist() == [0, 1, 1, 1]
    assert data.train.cameras.tolist() == [12, 7, 3, 4]


def test_images_with_and_without_an_identity_are_not_mixed():
    with pytest.raises(ScwmError, match=r"(?s)4 of 5 images have one.*crops/odd\.png.*rename it"):
        get(make_crops(make_crops("crops"), "odd.png"))


def test_unlabelled_training_images_and_labelled_test_images(caplog):
    make_crops("crops", "train/a.png", "train/b.png", "extra/c.png")
    make_crops("crops/query", "0001_c1.png")
    make_crops("crops/gallery", "0001_c2.png", "0002_c1.png")
    get("crops")
    assert "only train, query, gallery are read, not extra" in caplog.text
    data = load_dataset("folder", "crops")
    assert data.train.ids.tolist() == [-1, -1] and data.gallery.ids.tolist() == [1, 2]
    assert data.gallery.cameras.tolist() == [2, 1] and not data.note


def test_image_of_one_camera_has_its_own_camera_in_every_split():
    crops = make_crops("crops", *(f"000{n}_c1_{k}.png" for n in (1, 2) for k in (1, 2, 3)))
    get(crops)
    data = load_dataset("folder", crops)
    assert len(data.query) == 2 and data.note.endswith("only the query's own file is left out")
    for split in (data.query, data.gallery):
        places = [data.train.paths.index(path) for path in split.paths]
        assert (split.cameras == data.train.cameras[places]).all()
    assert len(set(data.train.cameras)) == 6


# Archives


def archived(path, files):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


PICTURE = image()
TABLE = b"path,identity,camera\nsub/a.png,1,1\nsub/b.png,1,2\n"
SHAPES = {
    "splits": {f"{one}/0001_c{n}.png": PICTURE for one in SPLITS for n in (1, 2)},
    "one folder": {f"0001_c{n}.png": PICTURE for n in (1, 2)},
    "csv": {"images.csv": TABLE, "sub/a.png": PICTURE, "sub/b.png": PICTURE},
    "market": {
        f"{one}/0001_c{n}.png": PICTURE
        for one in ("bounding_box_train", "query", "bounding_box_test")
        for n in (1, 2)
    },
}


@pytest.mark.parametrize("ending", ["zip", "tgz"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("top", ["", "mycrops/", "my crops/b/"])
def test_archive_with_a_top_folder_is_read(shape, top, ending):
    files = {top + name: content for name, content in SHAPES[shape].items()}
    if ending == "zip" and top:
        files[f"__MACOSX/{top}._a.png"] = b"a Mac's own"
    archive = archived(Path(f"crops.{ending}"), files)
    lines = get(archive).splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == sorted(SHAPES[shape])
    data = load_dataset("folder", "data/raw/folder")
    assert [len(split) for split in data.splits.values()] == [2, 2, 2]
    for split in load_dataset("folder", archive).splits.values():
        assert split.ids.tolist() == [1, 1] and split.cameras.tolist() == [1, 2]


def test_fault_in_an_archive_names_the_archive():
    """Not the temporary folder, which is gone when the message is read."""
    labelled = {"top/query/0001_c1.png": PICTURE}
    for name, content in {"query/person.png": PICTURE, "images.csv": b"path\n"}.items():
        archive = archived(Path("crops.zip"), labelled | {f"top/{name}": content})
        with pytest.raises(ScwmError) as raised:
            get(archive)
        assert f"crops.zip/top/{name}" in str(raised.value)
        assert ".part" not in str(raised.value)

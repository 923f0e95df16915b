"""Whatever is read ends in a right result or a ScwmError, and writes nothing except its target.

Properties are drawn by hypothesis, without chance from run to run; `ROUNDS` of mutated archives and
lists are drawn from the seeds 0, 1, 2, …. SCWM_FUZZ=20 makes both 20 times as long.
"""

import io
import os
import tarfile
import tempfile
import zipfile
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from scwm.core.errors import ScwmError
from scwm.data import entries, load_dataset
from scwm.data.archives import extract
from scwm.data.files import new_folder
from scwm.data.labels import labelled, read_label
from scwm.data.layouts import folder, market1501, msmt17

TIMES = int(os.environ.get("SCWM_FUZZ", "1"))
ROUNDS = 150 * TIMES  # of each kind of archive and list
examples = settings(
    max_examples=60 * TIMES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@contextmanager
def place():
    """A folder inside a folder with a file that must not change, and nothing else."""
    with tempfile.TemporaryDirectory() as outer:
        work = Path(outer, "work")
        work.mkdir()
        Path(outer, "neighbour").write_text("precious")
        yield work
        assert sorted(os.listdir(outer)) == ["neighbour", "work"]
        assert Path(outer, "neighbour").read_text() == "precious"


@examples
@given(st.integers(-1, 10**18 - 1), st.integers(0, 99), st.text("abc_.0", max_size=5))
def test_market_name_gives_its_labels(identity, camera, rest):
    name = f"{identity:04d}_c{camera}s{rest}.jpg" if identity >= 0 else f"-1_c{camera}s.jpg"
    assert market1501.parse_name(Path(name)) == (identity, camera)


@examples
@given(st.text(max_size=12) | st.from_regex(r"-?\d*(\.\d*)?_c\d*.*", fullmatch=True))
def test_any_name_has_labels_that_fit_or_is_named(name):
    try:
        labels = market1501.parse_name(Path(name or "."))
    except ScwmError as error:
        assert "remedy" in str(error)
    else:
        assert np.array(labels, np.int64).min() >= -1


@examples
@given(st.text(max_size=6) | st.integers().map(str) | st.floats().map(str))
def test_label_is_a_whole_number(text):
    try:
        value = read_label(text)
    except ValueError:
        return
    assert value >= -1 and Decimal(text) == value == np.int64(value)


LETTERS = b'01 _./,:-\n\r\t"\\#{}[]a\xc3\xa4\xff\0'
LINE = "0000/0000_000_01_0303morning_0015_0.jpg 0\n"
TABLE = 'path,identity,camera,split\na.jpg,1,2,train\n"b,c.jpg",3,4,query\na.jpg,-1,1,gallery\n'


def read_lists(work: Path, content: bytes) -> None:
    """MSMT17 with one list of that content: its images lie in the data set's folder."""
    for name in ("train", "val", "query", "gallery"):
        (work / f"list_{name}.txt").write_bytes(LINE.encode() if name != "val" else content)
    for name in ("train", "test"):
        path = work / name / LINE.split()[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    data = msmt17.load(work, "msmt17")
    for path in data.train.paths:
        assert path.is_file() and path.resolve().is_relative_to(work.resolve() / "train")
    assert len(data.train.paths) == len(data.train.ids) == len(data.train.cameras)


def read_table(work: Path, content: bytes) -> None:
    for name in ("a.jpg", "b,c.jpg"):
        (work / name).touch()
    (work / "images.csv").write_bytes(content)
    data = folder.load(work, "folder")
    for split in data.splits.values():
        assert all(path.is_file() for path in split.paths)
        assert -1 not in split.ids or not labelled(split.ids)
    assert data.root


def read_entry(work: Path, content: bytes) -> None:
    (work / "datasets").mkdir(exist_ok=True)
    (work / "datasets/toy.yaml").write_text("title: Toy\nlayout: market1501\n")
    (work / "datasets/small.yaml").write_bytes(content)
    entry = entries.lookup("small")
    assert entry.layout and isinstance(entry.options, dict)


ENTRY = """
base: toy
title: Small
source: {urls: [a, b], sha256: c}
counts: {train: 1}
subset: {train_ids: 1, test_ids: 2}
options: {mask_parts: [a]}
"""
LISTS = {
    "msmt17": (read_lists, LINE * 3),
    "csv": (read_table, TABLE),
    "entry": (read_entry, ENTRY),
}


def is_told(read, work: Path, content: bytes) -> bool:
    """Whether it is refused; anything but a result and a ScwmError fails the test."""
    try:
        read(work, content)
    except ScwmError as error:
        assert "where" in str(error) and "remedy" in str(error), error
        return True
    return False


@examples
@given(
    st.sampled_from(["msmt17", "csv", "entry"]),
    st.binary(max_size=40) | st.text().map(str.encode),
)
def test_any_bytes_for_a_list(kind, content):
    with place() as work, pytest.MonkeyPatch.context() as patch:
        patch.setattr(entries, "CONFIG_DIR", work)
        is_told(LISTS[kind][0], work, content)


@pytest.mark.parametrize("kind", LISTS)
def test_mutated_lists(kind, monkeypatch):
    read, text = LISTS[kind]
    refused = 0
    with place() as work:
        monkeypatch.setattr(entries, "CONFIG_DIR", work)
        assert not is_told(read, work, text.encode())
        for seed in range(ROUNDS):
            refused += is_told(read, work, mutate(text.encode(), seed, 1, LETTERS))
    assert 0.05 * ROUNDS < refused < ROUNDS  # both ends are reached


# Archives


def pack(files: dict[str, bytes], ending: str) -> bytes:
    buffer = io.BytesIO()
    if ending == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content)
    else:
        with tarfile.open(fileobj=buffer, mode=f"w:{ending[4:]}") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def mutate(content: bytes, seed: int, most: int = 4, letters: bytes = bytes(range(256))) -> bytes:
    """Content of which one to `most` stretches are changed, cut out or doubled."""
    chance = np.random.default_rng(seed)
    data = bytearray(content)
    for _ in range(chance.integers(1, most + 1)):
        start = int(chance.integers(0, len(data) + 1))
        stop = start + int(chance.geometric(0.2))
        other = [
            chance.choice(np.frombuffer(letters, np.uint8), stop - start).tobytes(),
            b"",
            bytes(data[start:stop]) * 2,
            b"../../x"[: stop - start],
            bytes(stop - start),
        ][chance.integers(0, 5)]
        data[start:stop] = other
        if chance.random() < 0.1:
            del data[int(chance.integers(0, len(data) + 1)) :]
    return bytes(data)


def unpacks(work: Path, content: bytes, ending: str) -> dict[str, bytes] | None:
    """The files that an archive is unpacked to; None where it is refused, with nothing left."""
    archive = work / f"archive.{ending}"
    archive.write_bytes(content)
    with tempfile.TemporaryDirectory(dir=work) as inside:
        target = Path(inside, "target")
        try:
            with new_folder(target) as temporary:
                extract(archive, temporary, limit=1 << 20)
        except ScwmError as error:
            assert "where" in str(error) and "remedy" in str(error), error
            assert os.listdir(inside) == []
            return None
        assert os.listdir(inside) == ["target"]
        paths = sorted(target.rglob("*"))
        assert not any(path.is_symlink() for path in paths)
        return {
            path.relative_to(target).as_posix(): path.read_bytes()
            for path in paths
            if path.is_file()
        }


names = st.text(st.sampled_from("ab//...\\:~ ä\n\0"), max_size=6)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@examples
@given(st.dictionaries(names, st.binary(max_size=5), max_size=4), st.sampled_from(["zip", "tar."]))
def test_members_of_any_name_stay_inside(files, ending):
    with place() as work:
        found = unpacks(work, pack(files, ending), ending.strip("."))
        assert sorted(os.listdir(work)) == [f"archive.{ending.strip('.')}"]
    if found is not None:
        plain = {name.partition("\0")[0]: content for name, content in files.items()}
        assert set(found.values()) <= set(plain.values())
        assert not any(name.startswith("/") or ".." in name.split("/") for name in plain)


IMAGE = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 20, 3), np.uint8)).save(
    IMAGE, "JPEG"
)
FILES = {"data/0001_c1.jpg": IMAGE.getvalue(), "data/list.txt": b"0001" * 50, "empty": b""}


@pytest.mark.parametrize("ending", ["zip", "tar.", "tar.gz", "tar.bz2", "tar.xz"])
def test_mutated_archives(ending):
    """Where there are checksums, what is unpacked is what was packed, under names maybe changed."""
    content = pack(FILES, ending)
    refused = 0
    with place() as work:
        ending = ending.strip(".")
        assert unpacks(work, content, ending) == FILES
        for seed in range(ROUNDS):
            found = unpacks(work, mutate(content, seed), ending)
            refused += found is None
            if found is not None and ending in ("tar.gz", "tar.bz2", "tar.xz"):
                assert found == FILES
    assert refused > 0.05 * ROUNDS


def test_dataset_from_a_mutated_archive_is_there_or_not(tmp_path, monkeypatch):
    """The whole way: cache, loader, manifest."""
    monkeypatch.setenv("SCWM_CACHE", str(tmp_path / "cache"))
    layout = [*market1501.FOLDERS.values()]
    content = pack({f"{name}/0001_c1.jpg": b"1" for name in layout}, "zip")
    for seed in range(ROUNDS // 10):
        archive = tmp_path / f"{seed}.zip"
        archive.write_bytes(mutate(content, seed))
        try:
            data = load_dataset("mannequins", archive)
        except ScwmError:
            continue
        assert all(path.is_file() for split in data.splits.values() for path in split.paths)

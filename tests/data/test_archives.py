"""Archives that are broken or lead out, and folders that appear whole or not at all."""

import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from scwm.core.errors import ScwmError
from scwm.core.files import whole_file
from scwm.data import archives
from scwm.data.archives import extract
from scwm.data.files import new_folder


@pytest.fixture(autouse=True)
def away(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)


FILES = {"a/one.jpg": b"1" * 700, "a/two.jpg": b"2" * 5000, "three.txt": b"3"}
TARS = {".tar": "w", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}
ENDINGS = [".zip", *TARS]


def make_archive(path, files=FILES):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, TARS["".join(path.suffixes)]) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def unpack(archive, folder, **limit):
    with new_folder(folder) as temporary:
        extract(archive, temporary, **limit)


def files_in(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("ending", ENDINGS)
def test_archive_is_unpacked_whole(ending):
    unpack(make_archive(Path(f"x{ending}")), Path("in/folder"))
    assert files_in(Path("in/folder")) == dict(sorted(FILES.items()))
    assert os.listdir("in") == ["folder"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_archive_cut_off_anywhere_is_refused(ending):
    archive = make_archive(Path(f"x{ending}"))
    content = archive.read_bytes()
    # After a tar's 3 headers and 2 + 10 + 1 blocks comes an empty one, its end; then padding.
    whole = 512 * 17 if ending == ".tar" else len(content)
    between = [512 * 3, 512 * 14, 512 * 16] if ending == ".tar" else []
    for cut in [*range(0, whole, max(whole // 60, 1)), *between, whole - 1]:
        archive.write_bytes(content[:cut])
        with pytest.raises(ScwmError, match=rf"(?s)cannot unpack.*x{ending}.*it has [\d,]+ bytes"):
            unpack(archive, Path("in/folder"))
        assert os.listdir("in") == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_colon_in_a_name_is_no_way_out(ending):
    """Names of cameras hold times."""
    name = "query/0001_c1_2024-01-01T12:30:01.jpg"
    unpack(make_archive(Path(f"x{ending}"), {name: b"1"}), Path("out"))
    assert files_in(Path("out")) == {name: b"1"}


def test_zip_of_windows_with_backslashes_is_mapped():
    files = {"crops\\query\\a.jpg": b"1", "crops\\b.txt": b"2", "crops\\empty\\": b""}
    unpack(make_archive(Path("x.zip"), files), Path("out"))
    assert files_in(Path("out")) == {"crops/b.txt": b"2", "crops/query/a.jpg": b"1"}


def bad_zip(path, name, kind):
    info = zipfile.ZipInfo(name)
    info.external_attr = {"link": 0o120777, "device": 0o060666}.get(kind, 0o100644) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc")


def bad_tar(path, name, kind):
    types = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.BLKTYPE}
    types |= {"fifo": tarfile.FIFOTYPE, "sparse": tarfile.GNUTYPE_SPARSE}
    info = tarfile.TarInfo(name)
    info.type, info.linkname = types.get(kind, tarfile.REGTYPE), "/etc"
    info.size = 0 if kind else 1
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(info, io.BytesIO(b"x"))


LEADS_OUT = [
    "../out",
    "/out",
    "a/../../out",
    "..",
    "a\\..\\out",
    "C:/out",
    "c:\\out",
    "\\out",
    "a/..",
    "//out",
]


@pytest.mark.parametrize(
    ("make", "name", "kind"),
    [
        *itertools.product([bad_zip, bad_tar], LEADS_OUT, [""]),
        *((bad_zip, "x", kind) for kind in ("link", "device")),
        *((bad_tar, "x", kind) for kind in ("link", "hard", "device", "fifo", "sparse")),
    ],
)
def test_archive_that_leads_out_is_refused(make, name, kind):
    archive = Path("deep/bad.zip" if make is bad_zip else "deep/bad.tar.gz")
    archive.parent.mkdir()
    make(archive, name, kind)
    with pytest.raises(ScwmError, match=r"(?s)(leads out|link or device).*bad.*do not trust"):
        unpack(archive, Path("deep/in/folder"))
    assert os.listdir("deep/in") == [] and sorted(os.listdir("deep")) == sorted(
        [archive.name, "in"]
    )
    assert os.listdir() == ["deep"] and not Path("/out").exists()


def test_link_and_a_file_through_it_write_nothing():
    """The classic: a link to a folder outside, then a file below the link's name."""
    with tarfile.open("bad.tar", "w") as archive:
        link = tarfile.TarInfo("a")
        link.type, link.linkname = tarfile.SYMTYPE, str(Path("victim").absolute())
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("a/file"))
    Path("victim").mkdir()
    with pytest.raises(ScwmError, match="link or device"):
        unpack(Path("bad.tar"), Path("in/folder"))
    assert os.listdir("victim") == os.listdir("in") == []


@pytest.mark.parametrize("ending", [".zip", ".tar"])
def test_name_that_stands_twice_is_refused(ending):
    archive = make_archive(Path(f"x{ending}"), {"a": b"1", "a/b": b"2"})
    with pytest.raises(ScwmError, match="cannot unpack"):
        unpack(archive, Path("in/folder"))
    assert os.listdir("in") == []


def test_archive_larger_than_allowed_or_than_the_disk(monkeypatch):
    make_archive(Path("x.zip"), {"zeros": bytes(10**6)})
    assert Path("x.zip").stat().st_size < 2000
    with pytest.raises(ScwmError, match=r"unpacks to 1,000,000 bytes; at most 999,999 fit"):
        unpack(Path("x.zip"), Path("in/folder"), limit=10**6 - 1)
    monkeypatch.setattr(
        archives.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 9)
    )
    with pytest.raises(ScwmError, match=r"(?s)at most 9 fit.*make room"):
        unpack(Path("x.zip"), Path("in/folder"))
    assert os.listdir("in") == []


def test_zip_that_lies_about_its_size():
    """A member that says one byte and holds a million: no more than announced is written."""
    make_archive(Path("x.zip"), {"zeros": bytes(10**6)})
    content = Path("x.zip").read_bytes()
    lie = content.replace((10**6).to_bytes(4, "little"), (1).to_bytes(4, "little"))
    assert lie != content
    Path("x.zip").write_bytes(lie)
    with pytest.raises(ScwmError, match="cannot unpack"):
        unpack(Path("x.zip"), Path("in/folder"))
    assert os.listdir("in") == []


def test_disk_that_fills_up_while_unpacking(monkeypatch):
    def full(source, target, length):
        raise OSError(28, "No space left on device")

    make_archive(Path("x.zip"))
    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    with pytest.raises(ScwmError, match=r"(?s)No space left.*make room"):
        unpack(Path("x.zip"), Path("in/folder"))
    assert os.listdir("in") == []


def test_file_is_replaced_whole_or_kept():
    for error in (KeyError, OSError(28, "No space left on device")):
        Path("file").write_text("old")
        with pytest.raises((KeyError, ScwmError)), whole_file(Path("file")) as temporary:
            temporary.write_text("half")
            raise error
        assert files_in(Path()) == {"file": b"old"}
    with whole_file(Path("file")) as temporary:
        temporary.write_text("new")
    assert files_in(Path()) == {"file": b"new"}


def own(folder, text):
    """Write what marks a folder as the suite's own."""
    (folder / "source.json").write_text(json.dumps({"source": text, "holds": ["a"]}))


def test_folder_is_replaced_whole_or_kept():
    for text in ("old", "new"):
        with new_folder(Path("out")) as temporary:
            own(temporary, text)
    with pytest.raises(KeyError), new_folder(Path("out")) as temporary:
        own(temporary, "half")
        raise KeyError
    assert json.loads(Path("out/source.json").read_text())["source"] == "new"
    assert list(files_in(Path())) == ["out/source.json"]


@pytest.mark.parametrize("name", ["a" * 240, "ä" * 127])
def test_names_as_long_as_a_disk_holds_have_temporary_ones(name):
    for text in ("old", "new"):
        with new_folder(Path("in", name)) as temporary:
            own(temporary, text)
        with whole_file(Path(name)) as temporary:
            temporary.write_text(text)
    assert sorted(os.listdir()) == sorted([name, "in"]) and os.listdir("in") == [name]
    assert json.loads(Path("in", name, "source.json").read_text())["source"] == "new"
    assert Path(name).read_text() == "new"


@pytest.mark.parametrize("left", ["source.json", "store.json", "masks.npy"])
def test_folder_of_which_snakemake_removed_the_outputs_is_made_again(left):
    Path("out").mkdir()
    own(Path("out"), "") if left == "source.json" else Path("out", left).touch()
    with new_folder(Path("out"), store=left != "source.json") as temporary:
        (temporary / "new").touch()
    assert os.listdir("out") == ["new"]


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("mark", ["source.json", "store.json", "masks.npy", "manifest.csv"])
def test_a_file_of_the_suites_makes_no_folder_its_own(mark, store):
    """Beside it lies a file of the user's."""
    Path("out").mkdir()
    own(Path("out"), "") if mark == "source.json" else Path("out", mark).touch()
    Path("out/thesis.txt").write_text("precious")
    with pytest.raises(ScwmError, match="did not put there"), new_folder(Path("out"), store):
        pytest.fail("not reached")
    assert Path("out/thesis.txt").read_text() == "precious"


def test_a_store_replaces_no_data_set_and_a_link_stays_a_link():
    with new_folder(Path("data")) as temporary:
        own(temporary, "")
    with pytest.raises(ScwmError, match="did not put there"), new_folder(Path("data"), store=True):
        pytest.fail("not reached")
    Path("link").symlink_to("data")
    with new_folder(Path("link")) as temporary:
        (temporary / "a").touch()
    assert Path("link").is_symlink() and os.listdir("data") == ["a"]
    assert sorted(os.listdir()) == ["data", "link"]


@pytest.mark.parametrize("target", ["mine", "mine/file", "."])
def test_folder_of_the_users_is_never_replaced(target):
    Path("mine").mkdir()
    Path("mine/file").write_text("precious")
    with pytest.raises(ScwmError, match=r"(?s)where: .*remedy: move"), new_folder(Path(target)):
        pytest.fail("not reached")
    assert files_in(Path()) == {"mine/file": b"precious"}


def test_leftovers_of_a_killed_process_go_and_those_of_a_live_one_stay():
    code = (
        "import sys, time; from pathlib import Path; from scwm.data.files import new_folder\n"
        "with new_folder(Path('out')) as folder:\n"
        "    (folder / 'half').touch(); print(folder.name, flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    left = child.stdout.readline().strip()
    with new_folder(Path("out")) as temporary:
        assert Path(left, "half").exists() and temporary.name != left
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert sorted(os.listdir()) == sorted([left, "out"])
    with new_folder(Path("out")):
        assert not Path(left).exists()
    assert os.listdir() == ["out"]

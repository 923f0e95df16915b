"""Registry, sources, downloads, archives: nothing half-succeeds."""

import hashlib
import io
import tarfile
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from scwm.data import data_names, entries, get_dataset, load_dataset
from scwm.data.download import fetch, unpack
from scwm.data.entries import lookup
from scwm.data.registry import LAYOUTS, resolve_source
from scwm.errors import ScwmError

FILES = ["bounding_box_train/0001_c1.jpg", "query/0002_c1.jpg", "bounding_box_test/0002_c2.jpg"]
CONTENT = bytes(range(256)) * 9000


@pytest.fixture(autouse=True)
def away(tmp_path, monkeypatch):
    """An empty working folder, cache and registry of one data set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCWM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(entries, "CONFIG_DIR", tmp_path)
    register("counts: {train: 1}")


def register(*lines, more=""):
    body = "".join(f"  {line}\n" for line in ["title: Toy", "layout: market1501", *lines])
    Path("datasets.yaml").write_text(f"toy:\n{body}{more}")


def make_tree(root):
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def make_zip(path, root=Path("toy-v1")):
    with zipfile.ZipFile(path, "w") as archive:
        for name in FILES:
            archive.writestr(str(root / name), name.encode())
    return path


def test_shipped_registry(monkeypatch):
    monkeypatch.undo()
    wanted = {"mannequins", "market1501", "market1501_small", "msmt17", "personx", "folder"}
    assert wanted <= set(data_names())
    for name in data_names():
        assert lookup(name).layout in LAYOUTS and lookup(name).title
    from scwm.data.mannequins import PARTS, PRESETS

    assert tuple(lookup("mannequins").options["mask_parts"]) == PARTS
    assert lookup("mannequins_tiny").source.preset in PRESETS


def test_unknown_name_lists_the_known():
    with pytest.raises(ScwmError, match=r"(?s)did you mean 'toy'\?.*known: toy"):
        load_dataset("toyy")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("licence_: x", "unknown key 'licence_'; did you mean 'licence'"),
        ("source: {url: x}", "unknown key 'url'"),
        ("counts: {trian: 1}", "counts must give whole numbers"),
        ("counts: {train: many}", "counts must give whole numbers"),
        ("subset: {train_ids: 3}", "subset must give"),
        ("base: other", "base 'other'"),
        ("options: {parts: 3}", "unexpected keyword"),
    ],
)
def test_registry_is_strict(line, message):
    register(line)
    with pytest.raises(ScwmError, match=message):
        load_dataset("toy", make_tree(Path("tree")))


def test_sources_in_order(monkeypatch):
    register("env: SCWM_TOY", "source: {path: fourth}")
    for name in ("first", "second", "data/raw/toy", "fourth"):
        make_tree(Path(name))
    monkeypatch.setenv("SCWM_TOY", "second")
    assert resolve_source("toy", "first").path == "first"
    assert resolve_source("toy").path == "second"
    monkeypatch.delenv("SCWM_TOY")
    assert resolve_source("toy").path == "data/raw/toy"
    assert resolve_source("toy", raw=Path("empty")).path == "fourth"
    assert resolve_source("toy", "https://host/toy.zip").urls == ("https://host/toy.zip",)
    with pytest.raises(ScwmError, match="does not exist"):
        resolve_source("toy", "absent")


def test_a_protocol_of_its_own_is_one_entry():
    register(more="small:\n  base: toy\n  title: Small\n  subset: {train_ids: 1, test_ids: 1}\n")
    data = load_dataset("small", make_tree(Path("tree")))
    assert data.name == "small" and data.note.startswith("easier protocol")


def test_folder_and_archive_give_the_same_manifest():
    manifests = []
    for source in (make_tree(Path("tree")), make_zip(Path("toy.zip"))):
        manifest = get_dataset("toy", source, Path("data/raw/toy"))
        manifests.append(manifest.read_text())
        assert len(load_dataset("toy").train) == 1
        assert load_dataset("toy", "data/raw/toy").note == ""
    assert manifests[0] == manifests[1]
    first = manifests[0].splitlines()[1].split(",")
    name = FILES[2]
    assert first == [name, str(len(name)), hashlib.sha256(name.encode()).hexdigest()]
    assert not Path("data/raw/toy/tree").exists()


def test_local_folder_is_not_copied_and_data_in_place_is_left_alone():
    tree = make_tree(Path("tree"))
    get_dataset("toy", tree, Path("out"))
    assert sorted(path.name for path in Path("out").iterdir()) == ["manifest.csv", "source.json"]
    get_dataset("toy", None, make_tree(Path("mine")))
    assert Path("mine/manifest.csv").is_file() and Path("mine", FILES[0]).is_file()
    with pytest.raises(ScwmError, match="did not put there"):
        get_dataset("toy", tree, Path("mine"))


@pytest.mark.parametrize("line", ["manifest: '0'", "counts: {query: 7}"])
def test_other_data_are_refused_and_leave_nothing(line):
    register(line)
    for source in (make_zip(Path("toy.zip")), make_tree(Path("tree"))):
        with pytest.raises(ScwmError, match=r"expected 0|standard 7"):
            get_dataset("toy", source, Path("raw/toy"))
    assert list(Path("raw").iterdir()) == []


def test_archive_is_read_through_the_cache():
    data = load_dataset("toy", make_zip(Path("toy.zip")))
    assert data.root.is_relative_to(Path("cache").resolve())
    assert load_dataset("toy", Path("toy.zip")).root == data.root


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT; `cut` connections break in the middle, /no is absent, /bad differs."""

    def __init__(self, log, *args):
        self.log = log
        super().__init__(*args)

    def do_GET(self):
        first = int((self.headers["Range"] or "bytes=0-")[6:-1])
        self.log.append((self.path, first))
        if self.path == "/no":
            return self.send_error(404)
        body = CONTENT[first:] if self.path != "/bad" else CONTENT[1:]
        self.send_response(206 if first and self.path != "/bad" else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1_500_000] if self.path == "/cut" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    log = []
    http = HTTPServer(("127.0.0.1", 0), partial(Server, log))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}", log
    http.shutdown()


SHA = hashlib.sha256(CONTENT).hexdigest()


def test_fetch_resumes_after_a_broken_connection(server):
    url, log = server
    fetch([f"{url}/cut"], Path("file"), sha256=SHA, wait=0)
    assert Path("file").read_bytes() == CONTENT and not Path("file.part").exists()
    assert log == [("/cut", 0), ("/cut", 1_500_000)]
    fetch([f"{url}/cut"], Path("file"), sha256=SHA)  # verified, not fetched again
    assert len(log) == 2


def test_fetch_resumes_a_part_of_an_earlier_call(server):
    url, log = server
    Path("file.part").write_bytes(CONTENT[:1000])
    fetch([f"{url}/file"], Path("file"), md5=hashlib.md5(CONTENT).hexdigest())
    assert log == [("/file", 1000)] and Path("file").read_bytes() == CONTENT


def test_fetch_goes_to_the_next_source(server):
    url, _ = server
    fetch([f"{url}/no", f"{url}/bad", f"{url}/file"], Path("file"), sha256=SHA, wait=0)
    assert Path("file").read_bytes() == CONTENT


def test_fetch_failures_say_expected_and_found(server):
    url, _ = server
    with pytest.raises(ScwmError, match=f"(?s)404.*expected {len(CONTENT)}, found"):
        fetch([f"{url}/no", f"{url}/bad"], Path("file"), sha256=SHA, size=len(CONTENT), wait=0)
    assert not list(Path().glob("file*"))


def test_get_from_urls(server, monkeypatch):
    make_zip(Path("toy.zip"))
    source = Path("toy.zip").resolve().as_uri()
    register(f"source: {{urls: [{server[0]}/no, '{source}']}}")
    get_dataset("toy", None, Path("raw/toy"))
    assert [path.name for path in Path("raw").iterdir()] == ["toy"]


def bad_zip(path, name, link=False):
    info = zipfile.ZipInfo(name)
    info.external_attr = (0o120777 if link else 0o100644) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "x")


def bad_tar(path, name, link=False):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = (tarfile.SYMTYPE, "/", 0) if link else (b"0", "", 1)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(info, io.BytesIO(b"x"))


@pytest.mark.parametrize("make", [bad_zip, bad_tar])
@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "link"])
def test_unpack_refuses_what_leads_out(make, name):
    archive = Path("bad.zip" if make is bad_zip else "bad.tar.gz")
    make(archive, name, link=name == "link")
    with pytest.raises(ScwmError, match=r"leads out|link"):
        unpack(archive, Path("in/folder"))
    assert list(Path("in").iterdir()) == [] and not Path("out").exists()


def test_unpack_refuses_broken_and_large_archives():
    make_zip(Path("toy.zip"))
    with pytest.raises(ScwmError, match="unpacks to"):
        unpack(Path("toy.zip"), Path("in/folder"), limit=10)
    content = Path("toy.zip").read_bytes()
    for broken in (content[:40], content[:60] + b"xx" + content[62:], b""):
        Path("toy.zip").write_bytes(broken)
        with pytest.raises(ScwmError, match="cannot unpack"):
            unpack(Path("toy.zip"), Path("in/folder"))
    assert list(Path("in").iterdir()) == []

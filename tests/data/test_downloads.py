"""Downloads against a server that fails in every way: a right file or a clear error, never half."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import requests
from bad_server import CONTENT, CUT, SHA, SIZE, serve

from scwm.core.errors import ScwmError
from scwm.data import download
from scwm.data.download import fetch


@pytest.fixture(autouse=True)
def away(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def http():
    with serve() as place:
        yield place


@pytest.fixture
def server(http):
    http[1].clear()
    return http


get = partial(fetch, target=Path("in/file"), wait=0.001, timeout=0.3)


@pytest.mark.parametrize(
    ("sources", "requests"),
    [
        ("good", [0]),
        ("no_ranges", [0]),
        ("cut", [0, CUT]),
        ("cut_without_ranges", [0, CUT]),
        ("busy_once", [0, 0]),
        ("slow", [0]),
        ("stalls_once", [0, None]),
        ("chunked_cut", [0, None]),
        ("moved", [0, 0]),
        ("moved_cut", [0, 0, CUT, CUT]),
        ("no good", [0, 0]),
        ("no forbidden wrong_bytes short long endless page good", [0] * 8),
        ("busy good", [0, 0, 0, 0]),
        ("hangs_up nonsense bad_length good", None),
        ("loop good", None),
        ("cut_without_ranges no_such_range", [0, CUT]),
        ("always_cut cut", None),
    ],
)
def test_ends_in_the_right_file(server, sources, requests):
    """Also without a hash, where the server does not lie about its file."""
    url, log = server
    hashes = [{"sha256": SHA, "size": SIZE}, {"md5": hashlib.md5(CONTENT).hexdigest()}]
    lies = {"wrong_bytes", "short", "long", "page", "endless"} & set(sources.split())
    for expected in hashes + ([] if lies else [{"size": SIZE}, {}]):
        log.clear()
        get([f"{url}/{name}" for name in sources.split()], **expected)
        assert Path("in/file").read_bytes() == CONTENT
        assert os.listdir("in") == ["file"]
        if requests is not None and "sha256" in expected:
            assert len(log) == len(requests)
            assert all(
                wanted in (None, first) for wanted, (_, first) in zip(requests, log, strict=True)
            )
        shutil.rmtree("in")


@pytest.mark.parametrize(
    ("sources", "messages"),
    [
        ("wrong_bytes", [f"sha256 differs: expected {SHA}, found"]),
        ("short", [f"size differs: expected {SIZE}, found {CUT}"]),
        ("long", [f"size differs: expected {SIZE}, found {SIZE + 4}"]),
        ("endless", [f"size differs: expected {SIZE}, found"]),
        ("page", [f"size differs: expected {SIZE}, found 26"]),
        ("no", ["404"]),
        ("forbidden", ["403"]),
        ("busy", ["503", "(3 times)"]),
        ("always_cut", [f"broke after 0 of {SIZE} bytes", "(3 times)"]),
        ("hangs_up", ["Remote end closed", "(3 times)"]),
        ("nonsense", ["not http at all", "(3 times)"]),
        ("bad_length", ["'many'", "(3 times)"]),
        ("loop", ["infinite loop"]),
        ("to_a_file", ["302"]),
        ("no busy wrong_bytes", ["/no: ", "404", "/busy: ", "503", "/wrong_bytes: ", "sha256"]),
    ],
)
def test_ends_in_an_error_that_names_each_source(server, sources, messages):
    url, _ = server
    with pytest.raises(ScwmError) as caught:
        get([f"{url}/{name}" for name in sources.split()], sha256=SHA, size=SIZE)
    text, start = str(caught.value), 0
    for message in messages:
        assert message in text[start:], text
        start = text.index(message, start) + len(message)
    assert "could not download file" in text and "remedy: check the network" in text
    assert set(os.listdir("in")) <= {"file.part"}
    get([f"{url}/good"], sha256=SHA)  # what is left is no hindrance
    assert Path("in/file").read_bytes() == CONTENT


def test_no_source_and_unreachable_host():
    for urls in ([], ["http://127.0.0.1:9/file"], ["gopher://x/file"], ["no url"]):
        with pytest.raises(ScwmError, match=r"(?s)could not download.*remedy"):
            get(urls, sha256=SHA)
    assert os.listdir("in") == []


def test_back_off_doubles(server, monkeypatch):
    pauses = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    url, _ = server
    with pytest.raises(ScwmError):
        fetch([f"{url}/busy"], Path("file"), tries=5, wait=0.5)
    assert pauses == [0.5, 1, 2, 4]


def test_a_right_file_is_not_fetched_again_and_a_wrong_one_is(server):
    url, log = server
    for _ in range(2):
        get([f"{url}/good"], sha256=SHA)
    assert len(log) == 1
    Path("in/file").write_bytes(b"damaged")
    get([f"{url}/good"], sha256=SHA)
    assert Path("in/file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("left", "requests"),
    [
        (CONTENT[:1000], [1000]),
        (CONTENT, []),  # stopped before it was renamed
        (b"?" * 1000, [1000, 0]),  # of another file: the sum does not fit, so from the start
        (CONTENT + b"more", [SIZE + 4, 0]),
    ],
)
def test_part_of_an_earlier_call(server, left, requests):
    url, log = server
    Path("in").mkdir()
    Path("in/file.part").write_bytes(left)
    get([f"{url}/{'good' if len(left) <= SIZE else 'no_such_range'}"], sha256=SHA)
    assert Path("in/file").read_bytes() == CONTENT and [first for _, first in log] == requests


def test_server_that_resumes_elsewhere_is_not_trusted(server):
    url, log = server
    Path("in").mkdir()
    Path("in/file.part").write_bytes(CONTENT[:1000])
    log.append(("/other_byte", 0))
    get([f"{url}/other_byte"], sha256=SHA)
    assert Path("in/file").read_bytes() == CONTENT
    assert [first for _, first in log[1:]] == [1000, 0]


def test_part_that_nothing_can_verify_is_begun_anew(server):
    url, log = server
    Path("in").mkdir()
    Path("in/file.part").write_bytes(b"?" * 1000)
    get([f"{url}/good"])
    assert Path("in/file").read_bytes() == CONTENT and log == [("/good", 0)]


def test_killed_download_goes_on(server):
    url, log = server
    code = (
        "import sys; from pathlib import Path; from scwm.data.download import fetch;"
        f"fetch(['{url}/stalls_once'], Path('in/file'), sha256='{SHA}')"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    part = Path("in/file.part")
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert os.listdir("in") == ["file.part"]
    kept = part.stat().st_size
    get([f"{url}/stalls_once"], sha256=SHA)
    assert Path("in/file").read_bytes() == CONTENT
    assert log == [("/stalls_once", 0), ("/stalls_once", kept)] and kept > 0


def test_full_disk_is_told_at_once(server, monkeypatch):
    url, log = server
    Path("in").mkdir()
    Path("in/file.part").symlink_to("/dev/full")
    with pytest.raises(ScwmError, match=r"(?s)No space left.*file\.part.*make room"):
        get([f"{url}/good"], sha256=SHA)
    Path("in/file.part").unlink()
    monkeypatch.setattr(
        download.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 9)
    )
    with pytest.raises(ScwmError, match=r"(?s)2,304,000 bytes do not fit.*make room"):
        get([f"{url}/good"], sha256=SHA)
    assert os.listdir("in") == [] and len(log) == 2  # no second try


@pytest.fixture
def drive(server, monkeypatch):
    """Google Drive is the server: the id of a file is the path's name."""
    url, log = server
    real = requests.Session.get

    def asked(self, address, **options):
        return real(self, address.replace("https://drive.google.com/uc?id=", f"{url}/"), **options)

    monkeypatch.setattr(requests.Session, "get", asked)
    return log


LINKS = ("https://drive.google.com/uc?id={}", "https://drive.google.com/file/d/{}/view?usp=sharing")


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize(("name", "resumed"), [("drive", False), ("drive_cut_once", True)])
def test_link_of_google_drive(drive, link, name, resumed):
    get([link.format(name)])
    assert Path("in/file").read_bytes() == CONTENT and os.listdir("in") == ["file"]
    assert any(first > 0 for _, first in drive) == resumed


def test_google_drive_that_refuses_says_why(drive):
    with pytest.raises(ScwmError, match=r"(?s)could not download.*Too many users.*remedy: ask"):
        get([LINKS[0].format("drive_quota")], remedy="ask them")
    assert os.listdir("in") == []


def test_google_drive_without_gdown(monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(ScwmError, match=r"(?s)needs the package gdown.*pip install gdown"):
        get([LINKS[0].format("drive")])

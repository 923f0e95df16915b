"""Downloads against a server that fails: a right file or a clear error, never half."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import requests
from bad_server import CONTENT, CUT, ETC, SHA, SIZE, serve

from scwm.core.errors import ScwmError
from scwm.data.download import fetch


@pytest.fixture(autouse=True)
def away(tmp_path, monkeypatch):
    """An empty working folder, and no pauses before retries."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(random, "uniform", lambda low, high: low)


@pytest.fixture(scope="module")
def http():
    with serve() as place:
        yield place


@pytest.fixture
def server(http):
    http[1].clear()
    return http


get = partial(fetch, target=Path("in/file"), timeout=0.3)


def hashes(sources):
    """The file's, and none where the server does not lie about its file."""
    lies = {"wrong_bytes", "page", "without_length"} & set(sources.split())
    return [SHA.upper()] if lies else [SHA.upper(), None]


@pytest.mark.parametrize(
    ("sources", "requests"),
    [
        ("good", [0]),
        ("cut", [0, CUT, 2 * CUT]),
        ("stalls_once", [0, CUT]),
        ("moved", [0, 0]),
        ("no busy good", [0, 0, 0]),
        ("wrong_bytes page without_length good", [0, 0, 0, 0]),
        ("hangs_up nonsense loop to_a_file good", None),
        ("cut_without_ranges good", None),
    ],
)
def test_ends_in_the_right_file(server, sources, requests):
    url, log = server
    for sha256 in hashes(sources):
        log.clear()
        target = Path(f"{sha256}/file")
        get([f"{url}/{name}" for name in sources.split()], target=target, sha256=sha256)
        assert target.read_bytes() == CONTENT
        assert os.listdir(target.parent) == ["file"]
        if requests is not None:
            assert [first for _, first in log] == requests


@pytest.mark.parametrize(
    ("sources", "messages"),
    [
        ("wrong_bytes", [f"the hash differs: expected {SHA}, found"]),
        ("page", ["the hash differs"]),
        ("no", ["404"]),
        ("busy", ["503"]),
        ("always_cut", [str(SIZE)]),
        ("hangs_up", ["2 retries"]),
        ("nonsense", ["not http at all"]),
        ("loop", ["30 redirects"]),
        ("to_a_file", [ETC.as_uri()]),
        ("no busy wrong_bytes", ["/no: ", "404", "/busy: ", "503", "/wrong_bytes: ", "the hash"]),
    ],
)
def test_ends_in_an_error_that_names_each_source(server, sources, messages):
    url, _ = server
    for sha256 in hashes(sources):
        with pytest.raises(ScwmError) as caught:
            get([f"{url}/{name}" for name in sources.split()], sha256=sha256)
        text, start = str(caught.value), 0
        for message in messages:
            assert message in text[start:], text
            start = text.index(message, start) + len(message)
        assert "could not download file" in text and "remedy: check the network" in text
        assert not Path("in/file").exists()
        assert sha256 or os.listdir("in") == []
        get([f"{url}/good"], sha256=sha256)  # a partial file does not block it
        assert Path("in/file").read_bytes() == CONTENT and os.listdir("in") == ["file"]
        Path("in/file").unlink()


def test_no_source_and_unreachable_host():
    for urls in ([], ["http://127.0.0.1:9/file"], ["gopher://x/file"], ["no url"]):
        with pytest.raises(ScwmError, match=r"(?s)could not download.*remedy"):
            get(urls, sha256=SHA)
    assert os.listdir("in") == []


def test_a_right_file_is_not_fetched_again_and_a_wrong_one_is(server):
    url, log = server
    for _ in range(2):
        get([f"{url}/good"], sha256=SHA)
    assert len(log) == 1
    Path("in/file").write_bytes(b"damaged")
    get([f"{url}/good"], sha256=SHA)
    assert Path("in/file").read_bytes() == CONTENT


def test_killed_download_goes_on_if_its_bytes_can_be_verified(server):
    url, log = server
    code = (
        "import sys; from pathlib import Path; from scwm.data.download import fetch;"
        f"fetch(['{url}/stalls_once'], Path('in/file'), sha256='{SHA}')"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 30
        while sum(p.stat().st_size for p in Path("in").glob("*")) < SIZE // 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    (part,) = Path("in").iterdir()
    kept = part.stat().st_size
    get([f"{url}/stalls_once"], sha256=SHA)
    assert Path("in/file").read_bytes() == CONTENT and os.listdir("in") == ["file"]
    assert log == [("/stalls_once", 0), ("/stalls_once", 0), ("/stalls_once", kept)]


@pytest.mark.parametrize(
    ("left", "name"),
    [
        (CONTENT[:1000], "good"),
        (CONTENT[:1000], "other_byte"),  # the server resumes elsewhere
        (CONTENT[:1000], "no_such_range"),
        (CONTENT, "no"),  # killed just before the renaming
        (CONTENT + b"more", "no_such_range"),
        (b"?" * 1000, "good"),  # of another file
    ],
)
@pytest.mark.parametrize("parts", [1, 2])
def test_a_partial_file_of_an_earlier_call_does_not_block_the_next(server, left, name, parts):
    url, _ = server
    Path("in").mkdir()
    for number in range(parts):
        Path(f"in/file1234567{number}.part").write_bytes(left)
    get([f"{url}/{name}"], sha256=SHA)
    assert Path("in/file").read_bytes() == CONTENT


def test_a_server_without_ranges_that_broke_off_delivers_at_the_next_call(server):
    url, _ = server
    with pytest.raises(ScwmError, match="could not download"):
        get([f"{url}/cut_once_without_ranges"], sha256=SHA)
    get([f"{url}/cut_once_without_ranges"], sha256=SHA)
    assert Path("in/file").read_bytes() == CONTENT and os.listdir("in") == ["file"]


def test_part_that_nothing_can_verify_is_begun_anew(server):
    url, log = server
    Path("in").mkdir()
    Path("in/fileabcdefgh.part").write_bytes(b"?" * 1000)
    Path("in/file_of_others.part").write_bytes(b"?")
    get([f"{url}/good"])
    assert Path("in/file").read_bytes() == CONTENT and log == [("/good", 0)]
    assert sorted(os.listdir("in")) == ["file", "file_of_others.part"]


def test_full_disk_is_told_at_once(server):
    url, log = server
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CUT, limits[1]))
    try:
        with pytest.raises(ScwmError, match=r"(?s)too large.*file.*make room"):
            get([f"{url}/good", f"{url}/moved"], sha256=SHA)
        with pytest.raises(ScwmError, match=r"(?s)too large.*file.*make room"):
            get([f"{url}/good"], target=Path("other/file"))
        assert os.listdir("other") == []  # without a hash it would never be resumed
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path for path, _ in log] == ["/good"] * 2  # no second try
    get([f"{url}/good"], sha256=SHA)
    assert Path("in/file").read_bytes() == CONTENT


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

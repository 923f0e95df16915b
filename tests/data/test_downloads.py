"""Downloads against a server that fails: a right file or a clear error, never half."""

import os
import random
import resource
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
        assert os.listdir("in") == []


def test_no_source_and_unreachable_host():
    for urls in ([], ["http://127.0.0.1:9/file"], ["gopher://x/file"], ["no url"]):
        with pytest.raises(ScwmError, match=r"(?s)could not download.*remedy"):
            get(urls, sha256=SHA)
    assert os.listdir("in") == []


def test_an_existing_file_is_replaced_only_by_a_right_one(server):
    url, _ = server
    Path("in").mkdir()
    Path("in/file").write_bytes(b"old")
    with pytest.raises(ScwmError, match="the hash differs"):
        get([f"{url}/wrong_bytes"], sha256=SHA)
    assert Path("in/file").read_bytes() == b"old"
    get([f"{url}/good"], sha256=SHA)
    assert Path("in/file").read_bytes() == CONTENT and os.listdir("in") == ["file"]


def test_a_cut_download_advises_nothing_about_its_deleted_part(server):
    with pytest.raises(ScwmError, match=r"received \d+ bytes but the server announced") as caught:
        get([f"{server[0]}/always_cut"])
    assert "--continue" not in str(caught.value) and ".part" not in str(caught.value)


def test_full_disk_is_told_at_once(server):
    url, log = server
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CUT, limits[1]))
    try:
        with pytest.raises(ScwmError, match=r"(?s)too large.*file.*make room"):
            get([f"{url}/good", f"{url}/moved"], sha256=SHA)
        with pytest.raises(ScwmError, match=r"(?s)too large.*file.*make room"):
            get([f"{url}/good"], target=Path("other/file"))
        assert os.listdir("in") == os.listdir("other") == []
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

"""Registry and sources: nothing half-succeeds."""

import hashlib
import json
import os
import random
import shutil
import zipfile
from pathlib import Path

import pytest
from bad_server import Server, serve

from scwm.cli.main import main
from scwm.core import freeze
from scwm.core.errors import ScwmError
from scwm.core.files import write_json
from scwm.core.freeze import Freeze
from scwm.core.plugins import LAYOUTS
from scwm.data import data_names, entries, get_dataset, load_dataset
from scwm.data.entries import lookup
from scwm.data.places import resolve_source
from scwm.data.terms import accept_terms

KINDS = ("mannequins", "market1501")
FILES = ["bounding_box_train/0001_c1.jpg", "query/0002_c1.jpg", "bounding_box_test/0002_c2.jpg"]


@pytest.fixture(autouse=True)
def away(tmp_path, monkeypatch):
    """An empty working folder, cache and registry of one data set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCWM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(entries, "CONFIG_DIR", tmp_path)
    monkeypatch.setattr(freeze, "CONFIG_DIR", tmp_path)
    register("counts: {train: 1}")


def register(*lines):
    text = "".join(f"{line}\n" for line in ["title: Toy", "layout: market1501", *lines])
    Path("datasets").mkdir(exist_ok=True)
    Path("datasets/toy.yaml").write_text(text)


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
        assert lookup(name).layout in LAYOUTS.names() and lookup(name).title
    from scwm.data.mannequins import PARTS, PRESETS

    assert tuple(lookup("mannequins").options["mask_parts"]) == PARTS
    assert lookup("mannequins_tiny").source.preset in PRESETS
    developed, shown = lookup("mannequins_dev"), lookup("mannequins")
    assert developed.source.preset == shown.source.preset
    assert developed.source.seed == 1001 != shown.source.seed
    assert all(lookup(f"{name}_dev").note.startswith("development data") for name in KINDS)


def test_a_frozen_seed_is_that_of_the_freeze(monkeypatch):
    """Another freeze renders other people, also where some were rendered before."""
    register("source: {preset: tiny, seed: frozen}")
    with pytest.raises(ScwmError, match=r"(?s)seed is frozen.*toy\.yaml.*scwm freeze"):
        lookup("toy")
    rendered = []

    def render(preset, out, seed, **knobs):
        rendered.append(seed)
        make_tree(Path(out))

    monkeypatch.setattr("scwm.data.mannequins.render", render)
    seeds, folders = [], []
    for number in (1, 2):
        found = Freeze("a" * 40, {"made up": f"{number}"})
        write_json(found.content(), Path("frozen.json"))
        folders.append(load_dataset("toy").root)
        get_dataset("toy", None, Path("made/toy"))
        seeds += [found.seed] * 2
    assert rendered == seeds and len(set(seeds)) == 2
    assert folders[0] != folders[1]


def test_a_file_with_another_kind_of_name_is_explained():
    Path("datasets/my-toy.yaml").write_text("title: Toy\nlayout: folder\n")
    with pytest.raises(ScwmError, match=r"'my-toy'.*A name is made of a-z, 0-9 and _\."):
        lookup("my-toy")


def test_unknown_name_lists_the_known():
    with pytest.raises(ScwmError, match=r"(?s)Did you mean 'toy'\?.*known: toy"):
        load_dataset("toyy")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("licence_: x", "Unknown key 'licence_'.*mean 'licence'.*docs/data.md"),
        ("name: toy", "Unknown key 'name'.*remove it"),
        ("source: {url: x}", "Unknown key 'source.url'.*mean 'source.urls'"),
        ("source: {urls: [null]}", r"source.urls\[0\] is None.*give text"),
        ("source: {seed: fozen}", "source.seed is 'fozen'.*an integer.*`frozen`"),
        ("counts: {trian: 1}", "Unknown key 'counts.trian'.*mean 'counts.train'"),
        ("counts: {train: many}", "counts.train is 'many'.*an integer from 1"),
        ("subset: {train_ids: 3}", "subset is .*train_ids and test_ids"),
        ("options: {1: 2}", "options.1 has no valid name.*give text"),
        ("options: 1", "options is 1.*a mapping"),
        ("base: other", "base 'other'"),
        ("options: {parts: 3}", "unexpected keyword"),
    ],
)
def test_registry_is_strict(line, message):
    register(line)
    with pytest.raises(ScwmError, match=f"(?s){message}"):
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
    assert resolve_source("toy", "https://host/toy.zip").urls == ["https://host/toy.zip"]
    with pytest.raises(ScwmError, match=r"(?s)does not exist.*absent.*correct --source"):
        resolve_source("toy", "absent")


def test_a_protocol_of_its_own_is_one_entry():
    small = "base: toy\ntitle: Small\nsubset: {train_ids: 1, test_ids: 1}\n"
    Path("datasets/small.yaml").write_text(small)
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


def test_the_commands_know_the_folder_of_a_data_set(capsys):
    store = ["data", "store", "toy", "--size", "32x32", "--out", "store"]
    assert main(store) == 1 and "run `scwm data get toy` first" in capsys.readouterr().err
    assert main(["data", "get", "toy", "--source", str(make_tree(Path("tree")))]) == 0
    assert Path("data/raw/toy/manifest.csv").is_file()
    assert main(store) == 1 and "cannot decode the image" in capsys.readouterr().err


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


@pytest.fixture
def server(monkeypatch):
    """The address of a bad server that has the data set as `/archive`, and its log."""
    content = make_zip(Path("toy.zip")).read_bytes()
    monkeypatch.setattr(random, "uniform", lambda low, high: low)  # no pauses before retries
    monkeypatch.setattr(
        Server,
        "do_archive",
        lambda self, first, again: self.answer(content[first:], first, len(content)),
        raising=False,
    )
    with serve() as place:
        yield place


def test_get_from_urls(server):
    url, _ = server
    register(f"source: {{urls: [{url}/no, {url}/archive]}}")
    get_dataset("toy", None, Path("raw/toy"))
    assert os.listdir("raw") == ["toy"]
    for line in (
        f"urls: [{url}/wrong_bytes, {url}/no], sha256: {'f' * 64}",
        f"urls: [{url}/good]",
    ):
        register(f"source: {{{line}}}")
        with pytest.raises(ScwmError, match=r"expected ffff|cannot unpack"):
            get_dataset("toy", None, Path("raw/other"))
        assert os.listdir("raw") == ["toy"]  # nothing that the next call would take for right


def test_a_data_set_that_cannot_be_scored_is_refused():
    """It would fail only after its training; to load it is no mistake."""
    tree = make_tree(Path("tree"))
    (tree / FILES[2]).rename(tree / "bounding_box_test/0003_c2.jpg")
    with pytest.raises(ScwmError, match="no query has a match in the gallery from another camera"):
        get_dataset("toy", tree, Path("out"))
    assert not Path("out").exists() and len(load_dataset("toy", tree).query) == 1


def test_terms_are_accepted_once_before_a_download(server):
    """Of a data set and of its subsets; changed terms are asked for again."""
    lines = [f"source: {{urls: [{server[0]}/archive]}}", "env: SCWM_TOY", "homepage: https://toy"]
    register(*lines, "terms: Cite us.")
    Path("datasets/small.yaml").write_text("base: toy\nsubset: {train_ids: 1, test_ids: 1}\n")
    for call in (load_dataset, lambda name: get_dataset(name, None, Path("out"))):
        with pytest.raises(ScwmError, match=r"(?s)Cite us\..*https://toy.*accept toy.*SCWM_TOY"):
            call("toy")
    assert load_dataset("toy", make_tree(Path("tree"))).train  # what a user has needs no terms
    record = accept_terms("small")
    assert record.read_text() == "Cite us."
    for name in ("toy", "small"):
        assert get_dataset(name, None, Path(name)).is_file() and len(load_dataset(name).train)
    register(*lines, "terms: Cite us twice.")
    with pytest.raises(ScwmError, match="Cite us twice"):
        get_dataset("toy", None, Path("again"))


def test_terms_of_a_data_set_without_any():
    with pytest.raises(ScwmError, match="no terms to accept"):
        accept_terms("toy")


def test_download_that_fails_says_how_to_supply_the_data_set(monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, high: low)
    register(
        "source: {urls: ['http://127.0.0.1:9/gone.zip']}",
        "env: SCWM_TOY",
        "ask: Ask us.",
        "homepage: us.org",
    )
    with pytest.raises(ScwmError, match=r"(?s)could not download.*Ask us. us.org.*SCWM_TOY"):
        get_dataset("toy", None, Path("out"))
    assert not Path("out").exists()


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_is_known_by_its_content(kind):
    made = shutil.make_archive("made", kind, make_tree(Path("tree")))
    source = Path(made).rename("no_suffix")
    assert len(load_dataset("toy", source).train) == 1


@pytest.mark.parametrize(
    "source", ["HTTP://127.0.0.1:9/a.zip", "s3://bucket/a.zip", "file://a.zip"]
)
def test_every_address_is_a_download(source, monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, high: low)
    with pytest.raises(ScwmError, match=r"(?s)could not download a\.zip.*a\.zip: "):
        get_dataset("toy", source, Path("out"))


def test_a_data_set_replaces_no_other(monkeypatch):
    """Nor a list of the user's with the name of a manifest."""
    register("")
    get_dataset("toy", make_tree(Path("tree")), Path("made"))
    assert json.loads(Path("made/source.json").read_text())["name"] == "toy"
    get_dataset("toy", Path("tree"), Path("made"))
    made = Path("made/source.json")
    made.write_text(json.dumps(json.loads(made.read_text()) | {"name": "other"}))
    with pytest.raises(ScwmError, match="holds the data set other"):
        get_dataset("toy", Path("tree"), Path("made"))
    Path("tree/manifest.csv").write_text("mine")
    with pytest.raises(ScwmError, match="that the suite did not write"):
        get_dataset("toy", Path("tree"), Path("tree"))
    assert Path("tree/manifest.csv").read_text() == "mine"


@pytest.mark.parametrize("knob", ["seed: 3", "processes: 1", "out: here"])
def test_a_knob_with_the_name_of_an_argument_is_refused_before_rendering(monkeypatch, knob):
    monkeypatch.setattr("scwm.data.mannequins.render", lambda *_, **__: pytest.fail("rendered"))
    register(f"source: {{preset: tiny, knobs: {{{knob}}}}}")
    for call in (load_dataset, lambda name: get_dataset(name, None, Path("out"))):
        with pytest.raises(ScwmError, match=f"no knob named '{knob.partition(':')[0]}'"):
            call("toy")


def test_other_rendered_people_are_refused(monkeypatch):
    """Those of another seed look alike and have the same layout and counts."""
    monkeypatch.setattr("scwm.data.mannequins.render", lambda _, out, **__: make_tree(out))
    register("source: {preset: tiny, seed: 1}")
    get_dataset("toy", None, Path("made"))
    load_dataset("toy", Path("made"))
    register("source: {preset: tiny, seed: 2}")
    with pytest.raises(ScwmError, match="other rendered people than toy"):
        load_dataset("toy", Path("made"))

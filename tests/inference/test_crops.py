"""`scwm extract`, `rank` and `cluster`: their files and the library's calls."""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

import scwm
from scwm.core.config import changed
from scwm.core.errors import ScwmError
from scwm.core.files import read_csv
from scwm.inference import pages
from scwm.inference.api import SHIPPED
from scwm.inference.clusters import cluster_crops
from scwm.inference.features import CropFeatures, find_crops
from scwm.inference.rank_lists import rank_crops
from scwm.method.pseudo_labels import pseudo_labels
from scwm.method.pseudo_labels.reliability import Reliability
from scwm.models import Network

# Outputs


@pytest.mark.parametrize("place", ["crops/new", "crops", "link/new", "crops/../crops/sub"])
@pytest.mark.parametrize(
    "words",
    [
        "extract {run} {tmp}/crops --out {tmp}/{place}/f.tsv",
        "extract {run} {query} {tmp}/crops --out {tmp}/{place}/f.npz",
        "rank --queries {query} --gallery {tmp}/crops --out {tmp}/{place}",
        "rank {run} --queries {tmp}/crops --gallery {gallery} --out {tmp}/{place}",
        "cluster {run} {tmp}/crops --out {tmp}/{place}",
        "parse {run} {tmp}/crops --masks {tmp}/{place}",
        "parse {run} {tmp}/crops --masks {tmp}/outside --output {tmp}/{place}/stages.png",
    ],
)
def test_an_output_among_the_crops_is_refused_before_any_work(
    call, toy_folder, tmp_path, capsys, monkeypatch, words, place
):
    """The next call would read it as a crop, or warn of it."""
    crops = tmp_path / "crops"
    (crops / "sub").mkdir(parents=True)
    (crops / "a.jpg").write_bytes(next((toy_folder / "query").iterdir()).read_bytes())
    (tmp_path / "link").symlink_to("crops")
    monkeypatch.setattr("scwm.inference.features.list_images", lambda *_, **__: pytest.fail("late"))
    monkeypatch.setattr("scwm.inference.api.load_model", lambda _: pytest.fail("too late"))
    assert call(words.replace("{place}", place)) == 1
    told = capsys.readouterr().err
    assert f"The output would lie in {crops}, which is read." in told and "outside" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crops", "link"]
    assert sorted(path.name for path in crops.iterdir()) == ["a.jpg", "sub"]


def test_an_output_next_to_the_crops_is_written(call, toy_folder, tmp_path):
    """Also one whose name begins like the folder's."""
    shutil.copytree(toy_folder / "query", tmp_path / "crops")
    assert call("extract {run} {tmp}/crops --out {tmp}/crops.tsv") == 0
    assert call("rank {run} --queries {query} --gallery {tmp}/crops --out {tmp}") == 0


@pytest.mark.parametrize("end", ["extract {run} {query} --out", "rank {gallery} --out"])
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    call, tmp_path, capsys, monkeypatch, end
):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    monkeypatch.setattr("scwm.inference.api.load_model", lambda _: pytest.fail("too late"))
    words = end.replace("rank", "rank {run} --queries {query} --gallery")
    assert call(f"{words} {{tmp}}/file/below/f.npz") == 1
    told = capsys.readouterr().err
    assert "Not a directory" in told and "file/below/f.npz\n" in told
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# Features


def test_features_are_the_librarys(call, model, toy_folder, tmp_path):
    """Also where batches are smaller than the folder."""
    config = changed(model.config, {"evaluation": {"batch": 3}})
    files = sorted((toy_folder / "query").iterdir())
    expected = scwm.extract(replace(model, config=config), files, "parts")
    assert call("extract {run} {query} --feature parts --out {tmp}/f.npz") == 0
    found = np.load(tmp_path / "f.npz")
    assert found["names"].tolist() == [str(file) for file in files]
    assert str(found["feature"]) == "parts"
    np.testing.assert_allclose(found["features"], expected, atol=1e-5)


def test_batch_and_device_are_options(call, model, toy_folder, tmp_path, monkeypatch, capsys):
    """`--device` outdoes the variable."""
    sizes = []
    forward = Network.forward

    def counted(self, images, *more, **options):
        sizes.append(len(images))
        return forward(self, images, *more, **options)

    monkeypatch.setattr(Network, "forward", counted)
    monkeypatch.setenv("SCWM_DEVICE", "wrong")
    words = "extract {run} {query} --feature parts --device cpu --out {tmp}/f.npz"
    assert call(f"{words} --batch 3") == 0
    count = len(list((toy_folder / "query").iterdir()))
    assert sizes == [3] * (count // 3) + [count % 3] * (count % 3 > 0)
    found = np.load(tmp_path / "f.npz")["features"]
    files = sorted((toy_folder / "query").iterdir())
    np.testing.assert_allclose(found, scwm.extract(model, files, "parts"), atol=1e-5)
    if not torch.cuda.is_available():
        assert call(words.replace("--device cpu", "--device cuda")) == 1
        assert "A GPU is asked for" in capsys.readouterr().err


def test_folders_are_searched_through(tmp_path, toy_folder):
    image = next((toy_folder / "query").iterdir())
    names = ["b/2.jpg", "b/a/1.png", "a.jpg", ".hidden/3.jpg", "b/.4.jpg", "notes.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(image.read_bytes())
    found = find_crops([tmp_path, image])
    assert found == [tmp_path / "a.jpg", tmp_path / "b/2.jpg", tmp_path / "b/a/1.png", image]


def test_unreadable_crops_are_named_and_passed_over(call, toy_folder, tmp_path, capsys):
    folder = tmp_path / "crops"
    folder.mkdir()
    (folder / "b.jpg").write_text("no image")
    assert call("extract {run} {tmp}/crops --out {tmp}/f.npz") == 1
    assert "None of 1 images" in capsys.readouterr().err
    (folder / "a.jpg").symlink_to(next((toy_folder / "query").iterdir()))
    assert call("extract {run} {tmp}/crops --json --out {tmp}/f.npz") == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["crops"] == 1 and report["unreadable"] == [str(folder / "b.jpg")]
    assert "b.jpg" in err and "1 of 2 images could not be read" in err
    assert np.load(tmp_path / "f.npz")["names"].tolist() == [str(folder / "a.jpg")]
    assert call("extract {run} {tmp}/crops --strict --out {tmp}/strict.npz") == 1
    assert "b.jpg" in capsys.readouterr().err and not (tmp_path / "strict.npz").exists()


# Identities


def test_clusters_are_the_pseudo_labels(call, tmp_path, toy_folder, model):
    words = "cluster {run} {gallery} {query} --k1 4 --k2 1 --min-samples 2 --eps 0.7 --out {tmp}/c"
    assert call(words) == 0
    found = read_csv(tmp_path / "c/clusters.csv")
    files = find_crops([toy_folder / "bounding_box_test", toy_folder / "query"])
    assert [row["file"] for row in found] == [str(file) for file in files]
    expected = pseudo_labels(scwm.extract(model, files), 0.7, 2, 4, 1)
    assert [int(row["identity"]) for row in found] == expected.tolist()


@pytest.mark.parametrize(
    ("word", "names"),
    [("--eps 2", "pseudo_labels.eps is 2"), ("--k1 1", "pseudo_labels.k1 is 1")],
)
def test_a_number_out_of_range_is_refused_before_any_work(call, capsys, monkeypatch, word, names):
    monkeypatch.setattr("scwm.inference.features.find_crops", lambda _: pytest.fail("too late"))
    assert call(f"cluster {{run}} {{gallery}} --out {{tmp}}/c {word}") != 0
    assert names in capsys.readouterr().err


def settings(model, **changes):
    return changed(model.config, {"pseudo_labels": changes})


def test_crops_that_show_no_part_are_unclustered(model):
    """As in training; so are the images of a cluster that a smaller radius takes apart (SpCL)."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(5, 32)).repeat(5, 0) + 0.1 * rng.normal(size=(25, 32))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    features[3] = 0
    crops = CropFeatures([Path(f"{i}.jpg") for i in range(25)], features.astype(np.float32), "both")
    chosen = settings(model, k1=10, k2=3, min_samples=2)
    expected = np.arange(5).repeat(5)
    expected[3] = -1
    assert cluster_crops(crops, chosen).labels.tolist() == expected.tolist()
    reliable = settings(model, k1=10, k2=3, min_samples=2, eps_gap=0.02)
    labels = pseudo_labels(
        np.delete(features, 3, 0).astype(np.float32),
        *(chosen.pseudo_labels.eps, 2, 10, 3),
        reliability=Reliability(0.02),
    )
    found = cluster_crops(crops, reliable).labels
    assert np.delete(found, 3).tolist() == labels.tolist() and found[3] == -1


def test_neighbours_shrink_with_the_folder(model):
    """Well parted groups are found also where k1 is larger than the folder, and it is told."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 32)).repeat(5, 0)
    features = centres + 0.1 * rng.normal(size=centres.shape)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    crops = CropFeatures([Path(f"{i}.jpg") for i in range(25)], features.astype(np.float32), "both")
    clusters = cluster_crops(crops, settings(model, k1=30, k2=6, min_samples=2))
    assert clusters.labels.tolist() == np.arange(5).repeat(5).tolist() and clusters.count == 5
    assert "25 crops are few for k1 = 30, k2 = 6" in clusters.message
    assert "k1 = 10, k2 = 3;" in clusters.settings
    own = cluster_crops(crops, settings(model, k1=5, k2=2, min_samples=2))
    assert "k1 = 5, k2 = 2;" in own.settings and not own.message
    with pytest.raises(ScwmError, match="One crop"):
        cluster_crops(CropFeatures([Path("a")], features[:1], "both"), model.config)


# Pages


class Page(HTMLParser):
    """What a page links to, its images, and whether its elements are closed in order."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.anchors: list[str] = []
        self.targets: set[str] = set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(own)
        self.targets |= {own["id"]} if "id" in own else set()
        for key in ("src", "href"):
            if key in own:
                (self.anchors if own[key].startswith("#") else self.sources).append(own[key])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("rank {run} --queries {query} --gallery {gallery} --top 3 --out {tmp}", "ranks.html"),
        ("rank --queries {query} --gallery {gallery} --top 3 --out {tmp}", "ranks.html"),
        ("cluster {run} {gallery} --out {tmp}", "clusters.html"),
    ],
)
def test_page_names_its_model_and_needs_nothing_else(call, trained, tmp_path, words, name):
    """No network and no other file; a text for each image; links that lead somewhere."""
    assert call(words) == 0
    text = (tmp_path / name).read_text()
    page = Page(text)
    assert page.images and all(image["alt"] for image in page.images)
    assert all(source.startswith("data:") for source in page.sources)
    assert not re.search(r"url\(|@import|<script|https?://", text)
    assert page.anchors and {anchor[1:] for anchor in page.anchors} <= page.targets
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text
    named = re.search(r"<p>Model: (.*) \(scwm trained on \w+, seed 0\)\.</p>", text)
    shipped = f"{SHIPPED.name} of the package"
    own = str(trained / "results/runs/mannequins/scwm/seed0")
    assert named and named[1] == (own if "{run}" in words else shipped)


def test_large_results_are_shown_in_part(model, monkeypatch, toy_folder):
    """All queries count; of the page's limits, it tells."""
    file = next((toy_folder / "query").iterdir())
    features = np.ones((40, 1), np.float32)
    crops = CropFeatures([file] * 40, features, "global")
    monkeypatch.setattr(pages, "QUERIES", 4)
    text = pages.rank_page(rank_crops(crops, crops, names="none"), "a", "m")
    assert text.count("<section") == 4 and "4 of 40 queries are shown" in text
    monkeypatch.setattr(pages, "CROPS", 24)
    clusters = cluster_crops(crops, model.config)
    many = type(clusters)(clusters.files, np.repeat([0, 1, 2, -1], [20, 13, 6, 1]))
    text = pages.cluster_page(many, "a", "m")
    assert text.count("<section") == 2 and text.count("<img") == 24
    assert "The 2 largest identities" in text and "At most 12 crops" in text


def test_the_querys_own_file_is_left_out_however_often_it_is_named(call, tmp_path, toy_folder):
    """The gallery holds it in a folder, by itself, and by a link."""
    for number, image in zip(range(3), (toy_folder / "query").iterdir(), strict=False):
        (tmp_path / "crops").mkdir(exist_ok=True)
        shutil.copy(image, tmp_path / f"crops/{number}.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "crops/0.jpg")
    query = "{tmp}/crops/0.jpg"
    words = f"rank {{run}} --queries {query} --gallery {{tmp}}/crops {query} {{tmp}}/link.jpg"
    assert call(f"{words} --names none --out {{tmp}}/ranks") == 0
    found = [Path(row["file"]).name for row in read_csv(tmp_path / "ranks/ranks.csv")]
    assert sorted(found) == ["1.jpg", "2.jpg"]


def test_links_in_a_circle_are_said(call, tmp_path, toy_folder, capsys):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    crops = toy_folder / "query"
    assert call(f"rank {{run}} --queries {crops} --gallery {crops} --out {{tmp}}/a") == 1
    assert call(f"rank {{run}} --queries {{tmp}}/a --gallery {crops} --out {{tmp}}/ranks") == 1
    assert "Traceback" not in capsys.readouterr().err

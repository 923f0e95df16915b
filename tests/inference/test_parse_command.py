"""`scwm parse`: what its picture shows against direct calls of the parsing, and mistakes."""

import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import Normalize
from PIL import Image

import scwm
from scwm.cli.main import main
from scwm.core.config import changed, write_yaml
from scwm.core.seeding import derived_seed
from scwm.evaluation import to_grid
from scwm.evaluation.evaluate import load_network
from scwm.inference.parsing_stages import crop_stages, one_of_each, store_stages
from scwm.method.labelling import label_images
from scwm.method.parsing import activation, cascaded_clustering, cluster_parts, two_means
from scwm.method.parsing.foreground_corrections.log_odds import correct_foreground
from scwm.models.embedding import ImageBatches, embed
from scwm.reporting.figures.galleries import resized
from scwm.reporting.figures.stages import LETTERS, MAP, picture, shortened
from scwm.training.trainer import train

COLUMNS = [
    *("image", "activation", "ISP foreground", "corrected foreground", "ISP parts"),
    *("corrected parts", "classifier's parts", "truth"),
]


@pytest.fixture(scope="module")
def runs(tiny_config, toy_store, toy_weights, tmp_path_factory) -> Path:
    """A folder with an untrained run of each kind of parts: parsed, stripes and none."""
    root = tmp_path_factory.mktemp("runs")
    for method in ("scwm", "stripes", "global_only"):
        (root / method).mkdir()
        config = tiny_config(method)
        write_yaml(config, root / method / "config.yaml")
        untrained = changed(config, {"kind": "untrained"})
        train(untrained, toy_store.split("train"), toy_weights, root / method, root / "state")
    return root


def test_stages_of_a_store_are_what_the_parsing_gives(runs, toy_store):
    names, stages = store_stages(runs / "scwm", toy_store, 4, seed=1)
    network, config = load_network(runs / "scwm/model.pt")
    split = toy_store.split("train")
    images = ImageBatches(split.images, torch.device("cpu"))
    embedding = embed(network, images, pixels=True, precision="float32")
    labels = label_images(config, embedding, split.ids)
    rows = np.array([[Path(path).name for path in split.paths].index(name) for name in names])
    assert len(set(labels[rows].tolist())) == 4 and (labels[rows] >= 0).all()

    kept = labels >= 0
    maps, groups = embedding.pixels[kept].float(), labels[kept]
    place = torch.cumsum(kept, 0)[rows] - 1  # of the shown images among the grouped ones
    first = two_means(activation(maps), groups)
    corrected = correct_foreground(maps, first)
    seed = derived_seed(config.seed, "clustering", 0)
    expected = {
        "image": split.images[rows],
        "activation": activation(maps)[place],
        "ISP foreground": first[place],
        "corrected foreground": corrected[place],
        "ISP parts": cluster_parts(maps, first, groups, 3, seed=seed)[place],
        "corrected parts": cascaded_clustering(maps, groups, 3, True, True)[place],
        "classifier's parts": embedding.part_labels[rows],
        "truth": to_grid(split.masks[rows], *maps.shape[2:]),
    }
    assert list(stages) == list(expected) == COLUMNS
    for name, cells in expected.items():
        np.testing.assert_array_equal(stages[name], np.asarray(cells), name)


def test_crops_are_one_group(runs, toy_folder, tmp_path):
    (tmp_path / "notes.txt").touch()
    Image.open(next(toy_folder.glob("query/*"))).resize((90, 200)).save(tmp_path / "large.png")
    file = toy_folder / "bounding_box_test/0009_c1s1_000002_01.jpg"
    names, stages = crop_stages(runs / "scwm", [tmp_path, file, toy_folder / "query"])
    files = [tmp_path / "large.png", file, *sorted((toy_folder / "query").iterdir())]
    assert names == [file.name for file in files] and list(stages) == COLUMNS[:-1]
    model = scwm.load_model(runs / "scwm/model.pt")
    images = np.stack([np.asarray(Image.open(f).resize((32, 64))) for f in files])
    assert np.array_equal(stages["image"], images)
    assert np.array_equal(stages["classifier's parts"], scwm.parse(model, files))
    batches = ImageBatches(images, torch.device("cpu"))
    maps = embed(model.network, batches, precision="float32", pixels=True).pixels
    corrected = cascaded_clustering(maps, np.zeros(len(files)), 3)
    assert np.array_equal(stages["corrected parts"], corrected)
    assert np.array_equal(stages["corrected foreground"], corrected > 0)
    first = two_means(activation(maps), torch.zeros(len(files), dtype=torch.long))
    assert np.array_equal(stages["ISP foreground"], first)


def test_stages_of_crops_need_only_the_model(runs, toy_folder, tmp_path):
    """model.pt, as `--masks` takes it."""
    files = [toy_folder / "query"]
    names, stages = crop_stages(runs / "scwm", files)
    again, others = crop_stages(runs / "scwm/model.pt", files)
    assert again == names and all(np.array_equal(stages[name], others[name]) for name in stages)


def test_draw_is_one_of_each_identity():
    labels = np.repeat([-1, 3, 0, 7, 5], 6)
    drawn = [one_of_each(labels, 3, seed) for seed in range(20)]
    for rows in drawn:
        assert len(set(labels[rows])) == 3 and -1 not in labels[rows] and (np.diff(rows) > 0).all()
    assert {label for rows in drawn for label in labels[rows]} == {0, 3, 5, 7}
    assert np.array_equal(drawn[4], one_of_each(labels, 3, 4))
    assert sorted(labels[one_of_each(labels, 9, 0)]) == [0, 3, 5, 7]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_picture_has_a_row_an_image(runs, toy_store, tmp_path, capsys, suffix):
    sizes = []
    for count in (2, 3):
        out = tmp_path / f"new/{count}{suffix}"
        words = ["parse", str(runs / "scwm"), "--store", str(toy_store.folder), "--images"]
        assert main([*words, str(count), "--output", str(out)]) == 0
        before = out.read_bytes()
        assert main([*words, str(count), "--output", str(out)]) == 0
        assert out.read_bytes() == before, "the same seed gives the same bytes"
        assert capsys.readouterr().out.split() == [str(out)] * 2
        if suffix == ".png":
            sizes.append(Image.open(out).height)
        else:
            sizes.append(float(ET.parse(out).getroot().attrib["height"].removesuffix("pt")))
    assert sizes[0] * 1.1 < sizes[1] < sizes[0] * 1.5


def test_each_kind_of_stage_is_shown_in_its_way():
    image = np.random.default_rng(0).integers(0, 200, (64, 32, 3), dtype=np.uint8)
    cells = np.zeros((16, 8))
    cells[4:12, 2:6] = 1
    inside, outside = np.s_[60:140, 30:70], np.s_[:40]
    shades = Normalize(0.6, 1)
    plain = picture(image, image, shades)
    assert np.array_equal(plain, resized(image))
    shown = picture(image, 0.6 + 0.4 * cells, shades)
    assert (shown[inside] == MAP(1.0, bytes=True)[:3]).all()
    assert (shown[outside] == MAP(0.0, bytes=True)[:3]).all()
    shown = picture(image, cells > 0, shades)
    assert np.array_equal(shown[inside], plain[inside])
    assert shown[outside].min() >= 0.8 * 255 - 1
    for part, strongest in ((1, 0), (2, 2)):  # orange and blue
        shown = picture(image, cells.astype(int) * part, shades)[inside].mean((0, 1))
        assert shown.argmax() == strongest


def test_long_file_names_keep_their_end():
    assert shortened("a" * LETTERS) == "a" * LETTERS
    short = shortened("0" * 50 + "_17.jpg")
    assert len(short) == LETTERS and short.startswith("…0") and short.endswith("_17.jpg")


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        ("scwm", ["images or a store"]),
        ("scwm {file} --store {store}", ["images or a store"]),
        ("scwm {file} --images 4", ["--images, --seed", "give --store"]),
        ("scwm {tmp}/absent.jpg", ["absent.jpg", "no such file"]),
        ("scwm {tmp}/empty", ["holds no images", ".jpg"]),
        ("scwm {tmp}/text.txt", ["cannot decode the image", "text.txt"]),
        ("scwm {tmp}/many", ["101 images", "at most 100"]),
        ("scwm --store {store} --images 0", ["0 images", "1 to 100"]),
        ("scwm --store {store} --images 101", ["101 images"]),
        ("scwm --store {store} --seed -1", ["seed -1"]),
        ("scwm --store {tmp}", ["not an image store"]),
        ("absent --store {store}", ["absent/config.yaml"]),
        ("absent {file}", ["absent", "no model"]),
        ("stripes --store {store}", ["stripes", "parses no parts"]),
        ("global_only {file}", ["global_only", "parses no parts"]),
    ],
)
def test_mistakes_are_told(runs, toy_store, toy_folder, tmp_path, capsys, words, messages):
    (tmp_path / "text.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    file = next(toy_folder.glob("query/*.jpg"))
    words = words.format(file=file, store=toy_store.folder, tmp=tmp_path)
    out = tmp_path / "new/picture.png"
    if words.endswith("/many"):
        (tmp_path / "many").mkdir()
        for number in range(101):
            shutil.copy(file, tmp_path / f"many/{number}.jpg")
    assert main(["parse", *f"{runs}/{words}".split(), "--output", str(out)]) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error and error.count("scwm: error:") == 1
    assert all(message in error for message in messages), error
    assert not out.parent.exists()


def test_another_kind_of_file_is_refused_before_the_work(runs, toy_store, tmp_path, capsys):
    words = ["parse", str(runs / "scwm"), "--store", str(toy_store.folder), "--output"]
    with pytest.raises(SystemExit):
        main([*words, str(tmp_path / "picture.jpg")])
    assert ".png or .svg" in capsys.readouterr().err

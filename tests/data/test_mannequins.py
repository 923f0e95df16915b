"""The embedded data set: reproducible, in Market-1501's layout, with masks that fit its images."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from file_hashes import digest
from PIL import Image

from scwm.core.errors import ScwmError
from scwm.data.mannequins import PARTS, PRESETS, render
from scwm.data.mannequins.anatomy import GESTURES, Pose, Shape
from scwm.data.mannequins.body import Body
from scwm.data.mannequins.camera import view
from scwm.data.mannequins.dataset import PALETTE, Studio
from scwm.data.mannequins.garments import BAG
from scwm.data.mannequins.protocol import SPLITS, plan
from scwm.data.mannequins.zbuffer import Mesh, draw, rasterise

NAME = re.compile(r"^(-1|\d{4})_c(\d)s(\d)_(\d{6})_(\d{2})\.jpg$")
SMALL = {"train_ids": 3, "test_ids": 2, "distractors": 2, "junk": 1}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render("tiny", tmp_path_factory.mktemp("mannequins") / "tiny", processes=1)


def _ids(folder: Path) -> list[int]:
    return [int(path.name.split("_")[0]) for path in folder.glob("*.jpg")]


def test_same_bytes_on_any_number_of_processes_and_others_for_another_seed(tmp_path: Path) -> None:
    one = digest(render("tiny", tmp_path / "one", processes=1, **SMALL))
    two = digest(render("tiny", tmp_path / "two", processes=2, **SMALL))
    other = digest(render("tiny", tmp_path / "other", seed=1, processes=1, **SMALL))
    assert one == two
    assert not set(one.values()) & {h for name, h in other.items() if name.endswith(".jpg")}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "other", "two"]


def test_layout_names_and_counts(tiny: Path) -> None:
    assert {p.name for p in tiny.iterdir()} == {*SPLITS, "masks", "README.txt", "contact_sheet.png"}
    total = 0
    for split in SPLITS:
        images = sorted((tiny / split).iterdir())
        masks = sorted((tiny / "masks" / split).iterdir())
        assert all(NAME.match(path.name) for path in images)
        assert [p.stem for p in images] == [p.stem for p in masks]
        total += len(images)
    assert 250 <= total <= 400
    knobs = PRESETS["tiny"]
    train, query, gallery = (_ids(tiny / split) for split in SPLITS)
    assert len(set(train)) == knobs.train_ids and len(set(query)) == knobs.test_ids
    assert gallery.count(0) == knobs.distractors and gallery.count(-1) == knobs.junk
    assert set(gallery) - {0, -1} == set(query)
    assert not set(train) & set(query)


def test_one_query_for_each_identity_and_camera_and_each_has_a_match(tiny: Path) -> None:
    def seen(split: str) -> list[tuple[str, str]]:
        names = [NAME.match(path.name) for path in (tiny / split).iterdir()]
        return [(name[1], name[2]) for name in names if name]

    queries, gallery = seen(SPLITS[1]), set(seen(SPLITS[2]))
    assert max(Counter(queries).values()) == 1
    for person, camera in queries:
        assert any(p == person and c != camera for p, c in gallery)


def test_images_and_masks_have_the_same_size_and_known_values(tiny: Path) -> None:
    for path in (tiny / SPLITS[0]).iterdir():
        image = Image.open(path)
        mask = np.asarray(Image.open(tiny / "masks" / SPLITS[0] / f"{path.stem}.png"))
        assert image.size == (64, 128) and image.mode == "RGB" and mask.shape == (128, 64)
        assert mask.max() <= len(PARTS)


@pytest.mark.parametrize(
    ("preset", "train", "gallery", "query"),
    [
        ("demo", (1250, 1550), (900, 1200), (180, 260)),
        ("full", (11_500, 14_500), (14_000, 21_000), (2_500, 3_600)),
    ],
)
def test_presets_have_their_size(
    preset: str, train: tuple[int, int], gallery: tuple[int, int], query: tuple[int, int]
) -> None:
    shots = plan(PRESETS[preset], seed=0)
    count = Counter(shot.split for shot in shots)
    for split, (low, high) in zip(SPLITS, (train, query, gallery), strict=True):
        assert low <= count[split] <= high
    assert len({shot.name for shot in shots}) == len(shots)


def _pose(phase: np.ndarray, stride: float, gesture: str = "swing") -> Pose:
    none = np.zeros(len(phase))
    arms = np.full((len(phase), 2), list(GESTURES).index(gesture))
    return Pose(phase, none + stride, none, none, arms, none)


def _flat(body: Body, azimuth: float, phase: float) -> tuple[Mesh, np.ndarray]:
    """A figure painted in its parts' colours, 128 x 64, seen from `azimuth`."""
    vertices, normals = body.pose(_pose(np.array([phase]), 0.9))
    points, facing = view(vertices[0], normals[0], azimuth, 0.15, 8.0, np.zeros(3))
    points = points * [60, 60, 1] + [32, 64, 0]
    colours = np.array(PALETTE, np.float32) / 255
    mesh = Mesh(
        points,
        facing,
        body.faces,
        body.parts,
        body.parts.astype(np.int64),
        body.chart,
        np.broadcast_to(colours[:, None, None], (len(colours), 1, 1, 3)),
    )
    return mesh, colours


@pytest.mark.parametrize("bag", ["", "backpack", "shoulder", "hand"])
@pytest.mark.parametrize("skirt", [0.0, 0.5])
def test_mask_is_where_the_image_shows_the_part(bag: str, skirt: float) -> None:
    for azimuth in np.linspace(0, 2 * np.pi, 5)[:-1]:
        mesh, colours = _flat(Body(Shape(bag=bag, skirt=skirt)), azimuth, 0.3)
        picture, coverage, mask = draw([mesh], 128, 64, np.array([0, 0, 1.0]), 1.0)
        inside = coverage == 1
        assert (mask[inside] > 0).all() and (mask[coverage == 0] == 0).all()
        hue = picture / np.maximum(np.linalg.norm(picture, axis=-1, keepdims=True), 1e-9)
        unit = colours / np.maximum(np.linalg.norm(colours, axis=-1, keepdims=True), 1e-9)
        nearest = (hue[inside] @ unit.T).argmax(-1)
        # Pixels that two parts share mix two colours; all others must agree.
        assert (nearest == mask[inside]).mean() > 0.94
        assert set(np.unique(mask)) >= {1, 2, 3, 4, 5}
        if bag == "backpack" and np.cos(azimuth) < -0.9:
            assert (mask == BAG).sum() > 300


def test_figures_have_no_holes() -> None:
    for shape in (Shape(), Shape(build=1.0, hips=0.9, skirt=0.6), Shape(build=-1, hair=1.0)):
        for phase in np.linspace(0, 1, 6):
            mesh, _ = _flat(Body(shape), 2.5 * phase, phase)
            _, coverage, _ = draw([mesh], 128, 64, np.array([0, 0, 1.0]), 1.0)
            padded = np.pad(coverage, 1)
            around = [
                np.roll(padded, (dy, dx), (0, 1))[1:-1, 1:-1] > 0.99
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
                if dy or dx
            ]
            assert not ((coverage < 0.99) & np.all(around, axis=0)).any()


def test_body_faces_point_outwards_and_labels_cover_all_parts() -> None:
    body = Body(Shape(bag="backpack"))
    assert set(np.unique(body.parts)) == set(range(1, len(PARTS) + 1))
    assert len(body.parts) == len(body.tiles) == len(body.faces)
    vertices = body.pose(_pose(np.zeros(1), 0.0))[0][0]
    a, b, c = (vertices[body.faces[:, i]] for i in range(3))
    assert np.einsum("fd,fd->", a, np.cross(b, c)) / 6 > 0.03  # enclosed volume, m^3
    assert vertices[:, 2].min() == 0 and 1.6 < vertices[:, 2].max() < 1.85


def test_rasterise_agrees_with_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-4, 28, (60, 2)), rng.uniform(5, 9, (60, 1))], 1)
    faces = rng.integers(0, 60, (40, 3))
    nearest = np.full((24, 20), np.inf)
    for a, b, c in points[faces]:
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if area >= -1e-9:
            continue
        for row in range(24):
            for column in range(20):
                x, y = column + 0.5, row + 0.5
                w1 = ((c[1] - a[1]) * (x - a[0]) - (c[0] - a[0]) * (y - a[1])) / area
                w2 = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / area
                if min(w1, w2, 1 - w1 - w2) >= 0:
                    depth = a[2] + w1 * (b[2] - a[2]) + w2 * (c[2] - a[2])
                    nearest[row, column] = min(nearest[row, column], depth)
    samples, _, weights, depth = rasterise(points, faces, 24, 20)
    found = np.full(24 * 20, np.inf)
    found[samples] = depth
    np.testing.assert_allclose(found.reshape(24, 20), nearest, atol=1e-4)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)


def test_parts_are_visible_in_whole_boxes() -> None:
    knobs = replace(PRESETS["tiny"], jitter=0.0, truncation=0.0, occlusion=0.0, companions=0.0)
    studio, seen, count = Studio(knobs, 0), np.zeros(len(PARTS) + 1), 0
    shots = plan(knobs, 0)
    for person in range(12):
        for _, _, mask in studio.render([s for s in shots if s.subject == person]):
            seen += np.bincount(mask.ravel(), minlength=len(seen)) >= 10
            count += 1
    assert (seen[:BAG] / count > 0.8).all(), seen / count


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ScwmError, match="preset"):
        render("huge", tmp_path / "a")
    with pytest.raises(ScwmError, match="knob"):
        render("tiny", tmp_path / "a", rain=1)
    with pytest.raises(ScwmError, match="wardrobe"):
        render("demo", tmp_path / "a", tops=1, bottoms=1, train_ids=9000)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("")
    with pytest.raises(ScwmError, match="exists"):
        render("tiny", tmp_path / "used")
    assert not (tmp_path / "a").exists()

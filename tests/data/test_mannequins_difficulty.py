"""The study of what makes `mannequins` hard: its own measures against plain references."""

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from scwm.data.mannequins import PARTS
from scwm.data.mannequins.protocol import choose, plan
from scwm.data.mannequins.studio import Studio
from scwm.data.store import StoreSplit
from scwm.evaluation import evaluate_ranking

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "mannequins_difficulty.py"
SMALL = {"train_ids": 3, "test_ids": 5, "distractors": 2, "junk": 1, "cameras": 2}


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mannequins_difficulty", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _split(ids: list[int], cameras: list[int], images: np.ndarray, masks: np.ndarray) -> StoreSplit:
    return StoreSplit(images, np.array(ids), np.array(cameras), [""] * len(ids), masks)


def _blank(ids: list[int], cameras: list[int]) -> StoreSplit:
    images = np.zeros((len(ids), 2, 2, 3), np.uint8)
    return _split(ids, cameras, images, images[..., 0])


def test_chance_is_the_mean_over_all_orders_of_the_gallery(study: ModuleType) -> None:
    query = _blank([1, 2], [0, 1])
    gallery = _blank([1, 1, 1, 2, 0, 3, -1], [0, 1, 2, 0, 1, 1, 0])
    found = []
    for order in itertools.permutations(range(6)):
        rank = np.array([*order, 6.0])[:, None]  # junk is passed over
        sides = (query.ids, query.cameras, rank, gallery.ids, gallery.cameras)
        found.append(evaluate_ranking(np.ones((2, 1)), *sides)["mAP"])
    assert study.chance(query, gallery) == pytest.approx(np.mean(found), abs=1e-9)


def test_colour_features_rank_as_the_distance_between_mean_colours(study: ModuleType) -> None:
    rng = np.random.default_rng(0)
    splits = []
    for count in (4, 9):
        images = rng.integers(0, 256, (count, 6, 4, 3)).astype(np.uint8)
        masks = rng.integers(0, 4, (count, 6, 4)).astype(np.uint8)
        splits.append(_split([1] * count, [0] * count, images, masks))
    assert splits[1].masks is not None
    splits[1].masks[3] = 0  # not seen
    means = []
    for split in splits:
        assert split.masks is not None
        pairs = zip(split.images, split.masks, strict=True)
        means.append(
            np.array([i[m == 2].mean(0) / 255 if (m == 2).any() else [9] * 3 for i, m in pairs])
        )
    means[1][3] = np.delete(means[1], 3, 0).mean(0)
    first, second = study.by_distance(*splits, 2)
    distance = np.linalg.norm(means[0][:, None] - means[1], axis=-1)
    np.testing.assert_array_equal((first @ second.T).numpy().argsort(1), (-distance).argsort(1))


def test_parts_are_counted_where_they_can_be_seen(study: ModuleType, tmp_path: Path) -> None:
    knobs = {**SMALL, **study.WHOLE, "train_frames": (1, 1)}
    store = study.open_variant("tiny", 0, knobs, tmp_path, 1)
    studio = Studio(choose("tiny", knobs), 0)
    table = study.parts_seen(store, studio, 0)
    shots = [s for s in plan(studio.knobs, 0) if s.subject == s.person >= 3 and s.person < 8]
    masks = {
        shot.name: mask
        for p in range(3, 8)
        for shot, _, mask in studio.render([s for s in shots if s.person == p])
    }
    assert list(table.index) == list(PARTS) and table["images"].iloc[0] == len(shots)
    body = np.array([(mask > 0).sum() for mask in masks.values()])
    for part, (_, visible, area) in enumerate(table.itertuples(index=False), 1):
        if part < len(PARTS):
            pixels = np.array([(mask == part).sum() for mask in masks.values()])
            assert visible == (pixels >= 10).mean()
            assert area == pytest.approx((pixels / body).mean())


def test_a_bag_shows_from_its_own_side(study: ModuleType) -> None:
    """Seen from there it covers more than from the other side, where straps show at most."""
    studio = Studio(choose("tiny", study.WHOLE), 0)
    area: dict[bool, list[int]] = {False: [], True: []}
    for person in range(36):
        shots = [s for s in plan(studio.knobs, 0) if s.subject == person]
        if not studio.people[person].shape.bag:
            assert not any(studio.shows_bag(shot) for shot in shots)
            continue
        for shot, _, mask in studio.render(shots[::3]):
            area[studio.shows_bag(shot)].append((mask == len(PARTS)).sum())
    assert np.median(area[True]) > 1.5 * np.median(area[False]) and len(area[False]) > 10


def test_markdown_keeps_counts_whole(study: ModuleType) -> None:
    table = pd.DataFrame({"images": [3], "share": [0.25]}, index=["bag"]).rename_axis("part")
    assert study.markdown(table, 1).splitlines()[2] == "| bag | 3 | 0.2 |"

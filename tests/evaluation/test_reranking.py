"""k-reciprocal re-ranking against the paper's equations, image by image."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from test_ranking import plain_scores, random_case

from scwm.evaluation import query_scores, ranked_lists
from scwm.evaluation.reranking import K1, K2, LAMBDA, jaccard_to_gallery
from scwm.evaluation.sides import read_features

NAMES = ("mAP", "mAP_trapezoid", "mINP", "rank1", "rank5", "rank10")


def grouped_case(seed: int, queries: int = 25, gallery: int = 110) -> tuple:
    """Unit features around a centre for each identity; junk and distractors in the gallery."""
    _, q_ids, q_cameras, _, g_ids, g_cameras = random_case(seed, False, queries, gallery)
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(30, 12))

    def draw(ids: np.ndarray) -> np.ndarray:
        x = centres[ids] + 0.9 * generator.normal(size=(len(ids), 12))
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    return draw(q_ids), q_ids, q_cameras, draw(g_ids), g_ids, g_cameras


def plain_distance(q: np.ndarray, g: np.ndarray) -> np.ndarray:
    """d* (Q,G) of the paper, with sets of neighbours."""
    x = np.concatenate([q, g]).astype(np.float64)
    images = range(len(x))
    d = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    order = [sorted(images, key=lambda j: (j != i, d[i, j])) for i in images]  # itself, then N

    def nearest(i: int, k: int) -> set[int]:
        return set(order[i][: k + 1])

    def reciprocal(i: int, k: int) -> set[int]:  # R(p, k)
        return {j for j in nearest(i, k) if i in nearest(j, k)}

    encoded = np.zeros_like(d)
    for i in images:
        near = reciprocal(i, 20)
        expanded = set(near)  # R*(p, k)
        for j in near:
            half = reciprocal(j, 10)
            if len(near & half) > 2 / 3 * len(half):
                expanded |= half
        for j in expanded:
            encoded[i, j] = np.exp(-d[i, j])
        encoded[i] /= encoded[i].sum()
    encoded = np.stack([encoded[order[i][:6]].mean(axis=0) for i in images])  # local expansion
    final = np.empty((len(q), len(g)))
    for i in range(len(q)):
        for j in range(len(g)):
            pair = encoded[[i, len(q) + j]]
            jaccard = 1 - pair.min(axis=0).sum() / pair.max(axis=0).sum()
            final[i, j] = 0.7 * jaccard + 0.3 * d[i, len(q) + j]
    return final


@pytest.fixture(scope="module", params=range(3))
def case(request: pytest.FixtureRequest) -> tuple:
    return grouped_case(request.param)


@pytest.fixture(scope="module")
def distances(case: tuple) -> np.ndarray:
    """Plain d* (Q,G), without the images of nobody (identity -1), which are no neighbours."""
    q, _, _, g, g_ids, _ = case
    found = np.full((len(q), len(g)), np.inf)
    found[:, g_ids != -1] = plain_distance(q, g[g_ids != -1])
    return found


def test_the_values_are_the_published_ones() -> None:
    assert (K1, K2, LAMBDA) == (20, 6, 0.3)


def test_lists_are_those_of_the_papers_equations(case: tuple, distances: np.ndarray) -> None:
    _, q_ids, q_cameras, _, g_ids, g_cameras = case
    indices, scores, correct = ranked_lists(*case, top=15, chunk=7, rerank=True)
    moved = 0
    for i in range(len(q_ids)):
        own = (g_ids == q_ids[i]) & (g_cameras == q_cameras[i])
        allowed = np.flatnonzero(~own & (g_ids != -1))
        expected = allowed[np.argsort(distances[i, allowed], kind="stable")][:15]
        np.testing.assert_array_equal(indices[i], expected)
        np.testing.assert_allclose(-scores[i], distances[i, expected], atol=1e-6)
        np.testing.assert_array_equal(correct[i], g_ids[expected] == q_ids[i])
        moved += (expected != ranked_lists(*case, top=15)[0][i]).any()
    assert moved > 20


def test_scores_are_those_of_scikit_learn_on_the_papers_equations(
    case: tuple, distances: np.ndarray
) -> None:
    found = query_scores(*case, chunk=9, rerank=True)
    expected = plain_scores(
        (
            np.eye(len(distances)),
            *case[1:3],
            -np.where(np.isinf(distances), 9, distances).T,
            *case[4:],
        )
    )
    for column, name in enumerate(NAMES):
        np.testing.assert_allclose(found[name], expected[:, column], atol=1e-9, err_msg=name)
    _, q_ids, q_cameras, _, g_ids, g_cameras = case
    compared = 0
    for i in range(len(q_ids)):
        allowed = (g_ids != -1) & ~((g_ids == q_ids[i]) & (g_cameras == q_cameras[i]))
        good = g_ids[allowed] == q_ids[i]
        if good.any():
            precision = average_precision_score(good, -distances[i, allowed])
            assert found["mAP"][i] == pytest.approx(precision, abs=1e-9)
            compared += 1
    assert compared > 10
    assert np.nanmean(found["mAP"]) > np.nanmean(query_scores(*case)["mAP"])


def test_only_pairs_of_common_neighbours_are_stored() -> None:
    """Forty groups of 25 images, far from each other: each query has 24 of them in the gallery."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(40).repeat_interleave(25, 0)
    x = centres + 0.01 * torch.randn(1000, 40, generator=generator)
    first = torch.arange(1000) % 25 == 0
    found = jaccard_to_gallery(x[first], x[~first])
    assert found.shape == (40, 960)
    groups = np.arange(960) // 24
    np.testing.assert_array_equal(
        groups[found.indices], np.repeat(range(40), np.diff(found.indptr))
    )


def test_evaluate_adds_the_scores_next_to_the_plain_ones(trained, scwm, tmp_path) -> None:
    run = trained / "results/runs/mannequins/scwm/seed0"
    plain = json.loads((run / "metrics.json").read_text())
    again = tmp_path / "seed0"
    again.mkdir()
    for name in ("model.pt", "config.yaml", "train.json", "history.csv"):
        (again / name).write_bytes((run / name).read_bytes())
    store = ("--store", trained / "data/stores/toy")
    assert scwm("evaluate --rerank", again, *store) == 0
    metrics = json.loads((again / "metrics.json").read_text())
    reranked = metrics.pop("reranked")
    assert metrics == plain and set(reranked) == set(NAMES)
    sides = read_features(again / "features.npz").values()
    feature = plain["default_feature"]
    arguments = [
        part for s in sides for part in (s.embedding.features()[feature].numpy(), s.ids, s.cameras)
    ]
    distance = plain_distance(arguments[0], arguments[3])
    expected = plain_scores((np.eye(len(distance)), *arguments[1:3], -distance.T, *arguments[4:]))
    found = [reranked[name] for name in NAMES]
    np.testing.assert_allclose(found, np.nanmean(expected, axis=0), atol=1e-6)
    assert scwm("evaluate", again, *store) == 0
    assert json.loads((again / "metrics.json").read_text()) == plain


def test_an_image_without_visible_parts_is_far_from_all_others() -> None:
    """Its feature is zero; the others have the distances that they have without it."""
    q, *_, g = grouped_case(0)[:4]
    query, gallery = torch.from_numpy(q).clone(), torch.from_numpy(g).clone()
    query[3], gallery[[0, 5]] = 0, 0
    found = jaccard_to_gallery(query, gallery).toarray()
    others = np.delete(np.arange(len(query)), 3), np.delete(np.arange(len(gallery)), [0, 5])
    expected = jaccard_to_gallery(query[others[0]], gallery[others[1]]).toarray()
    np.testing.assert_array_equal(found[np.ix_(*others)], expected)
    assert not found[3].any() and not found[:, [0, 5]].any()  # absent: a distance of 1

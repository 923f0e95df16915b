"""Ranking metrics against a plain computation, query by query."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from scwm.core.errors import ScwmError
from scwm.evaluation import evaluate_ranking, query_scores, ranked_lists

NAMES = ("mAP", "mAP_trapezoid", "mINP", "rank1", "rank5", "rank10")


def random_case(seed: int, tied: bool, queries: int = 40, gallery: int = 300) -> tuple:
    """Features of integers (many exact ties) or of reals; junk, distractors, lonely queries."""
    generator = np.random.default_rng(seed)
    draw = (
        (lambda n: generator.integers(-1, 2, (n, 4)).astype(np.float32))
        if tied
        else (lambda n: generator.normal(size=(n, 16)))
    )
    gallery_ids = generator.integers(-1, 25, gallery)
    query_ids = generator.integers(1, 28, queries)
    return (
        draw(queries), query_ids, generator.integers(1, 4, queries),
        draw(gallery), gallery_ids, generator.integers(1, 4, gallery),
    )  # fmt: skip


def plain_lists(case: tuple) -> list[np.ndarray]:
    """Admissible gallery indices of each query, best first."""
    q, q_ids, q_cameras, g, g_ids, g_cameras = case
    lists = []
    for i in range(len(q)):
        order = np.argsort(-(g.astype(np.float64) @ q[i].astype(np.float64)), kind="stable")
        own = (g_ids[order] == q_ids[i]) & (g_cameras[order] == q_cameras[i])
        lists.append(order[~own & (g_ids[order] != -1)])
    return lists


def plain_scores(case: tuple) -> np.ndarray:
    rows = []
    for i, order in enumerate(plain_lists(case)):
        good = case[4][order] == case[1][i]
        if not good.any():
            rows.append([np.nan] * 6)
            continue
        step = trapezoid = found = 0.0
        before = 1.0
        for position, hit in enumerate(good, start=1):
            found += hit
            precision = found / position
            step += hit * precision / good.sum()
            trapezoid += hit * (before + precision) / 2 / good.sum()
            before = precision
        inp = good.sum() / (np.flatnonzero(good)[-1] + 1)
        rows.append([step, trapezoid, inp, *(float(good[:k].any()) for k in (1, 5, 10))])
    return np.array(rows)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_the_plain_computation(seed: int, tied: bool) -> None:
    case = random_case(seed, tied)
    expected = plain_scores(case)
    found = query_scores(*case)
    for column, name in enumerate(NAMES):
        np.testing.assert_allclose(found[name], expected[:, column], atol=1e-9, err_msg=name)
    mean = evaluate_ranking(*case, chunk=7)
    assert tuple(mean) == NAMES
    np.testing.assert_allclose(list(mean.values()), np.nanmean(expected, axis=0), atol=1e-9)


def test_average_precision_is_that_of_scikit_learn() -> None:
    case = random_case(0, tied=False)
    found = query_scores(*case)["mAP"]
    compared = 0
    for i, order in enumerate(plain_lists(case)):
        good = case[4][order] == case[1][i]
        if good.any():
            expected = average_precision_score(good, case[3][order] @ case[0][i])
            assert found[i] == pytest.approx(expected, abs=1e-9)
            compared += 1
    assert compared > 25


def test_duplicates_keep_gallery_order_whatever_the_chunk() -> None:
    """Equal images tie exactly, although products of a matrix differ in their last bits."""
    q, q_ids, q_cameras, g, g_ids, g_cameras = random_case(3, tied=False)
    g = np.tile(g[:60] / np.linalg.norm(g[:60], axis=1, keepdims=True), (5, 1))
    case = (q, q_ids, q_cameras, g.astype(np.float32), g_ids, g_cameras)
    order = np.argsort(np.argsort(-(g[:60] @ q.T), axis=0), axis=0)  # a rank for each original
    exact = (np.eye(60)[np.arange(40)], q_ids, q_cameras, None, g_ids, g_cameras)
    for i in range(0, 40, 8):
        one = tuple(part[i : i + 1] for part in case[:3])
        ranked = -np.tile(order[:, i], 5)[:, None].astype(float)
        side = np.ones((1, 1)), *one[1:]
        expected = query_scores(*side, ranked, *exact[4:])  # type: ignore[call-arg]
        for chunk in (1, 3, 40):
            found = query_scores(*case, chunk=chunk)
            for name in NAMES:
                np.testing.assert_allclose(found[name][i], expected[name][0], atol=1e-9)


@pytest.mark.parametrize("spread", [1.0, 0.3, 0.01])
def test_order_that_float32_cannot_tell_is_that_of_float64(spread: float) -> None:
    """From features far apart to such as all lie within float32's error of each other."""
    _, q_ids, q_cameras, _, g_ids, g_cameras = random_case(4, tied=False)
    generator = np.random.default_rng(5)
    common = 3 * generator.normal(size=512)
    q, g = (common + spread * generator.normal(size=(n, 512)) for n in (40, 300))
    q, g = ((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (q, g))
    g[7] = g[3]
    case = (q, q_ids, q_cameras, g, g_ids, g_cameras)
    expected, found = plain_scores(case), query_scores(*case, chunk=13)
    for column, name in enumerate(NAMES):
        np.testing.assert_allclose(found[name], expected[:, column], atol=1e-9, err_msg=name)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_order_of_float64_features_is_that_of_float64(precision: torch.dtype) -> None:
    """The match is the nearer one by 1e-9, which float32 features cannot hold."""
    query = torch.tensor([[1.0, 0.0]], dtype=precision)
    cosine = torch.tensor([0.6, 0.6 + 1e-9], dtype=torch.float64)
    gallery = torch.stack([cosine, (1 - cosine**2).sqrt()], dim=1)
    assert evaluate_ranking(query, [7], [1], gallery, [8, 7], [2, 2])["rank1"] == 1
    assert ranked_lists(query, [7], [1], gallery, [8, 7], [2, 2], top=2)[0].tolist() == [[1, 0]]


def test_by_hand() -> None:
    """Matches at ranks 1 and 3, behind a better image of the query's own camera."""
    scores = evaluate_ranking(
        torch.ones(1, 1), [7], [1],
        torch.tensor([[0.9], [0.8], [0.7], [0.6], [0.95]]), [7, 0, 7, -1, 7], [2, 2, 3, 2, 1],
    )  # fmt: skip
    assert scores["mAP"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["mAP_trapezoid"] == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)
    assert scores["mINP"] == pytest.approx(2 / 3)
    assert scores["rank1"] == 1


@pytest.mark.parametrize("tied", [False, True])
def test_ranked_lists(tied: bool) -> None:
    case = random_case(1, tied)
    indices, similarities, correct = ranked_lists(*case, top=10, chunk=9)
    for i, order in enumerate(plain_lists(case)):
        np.testing.assert_array_equal(indices[i], order[:10])
        np.testing.assert_array_equal(correct[i], case[4][order[:10]] == case[1][i])
        np.testing.assert_allclose(similarities[i], case[3][order[:10]] @ case[0][i], rtol=1e-6)


def test_short_ranked_lists_are_padded() -> None:
    q, g = np.ones((1, 1)), np.array([[0.5], [0.9], [0.7]])
    indices, similarities, correct = ranked_lists(q, [1], [1], g, [-1, 1, 1], [2, 2, 1], top=4)
    assert indices.tolist() == [[1, -1, -1, -1]]
    assert correct.tolist() == [[True, False, False, False]]
    assert np.isneginf(similarities[0, 1:]).all()


def test_mistakes_are_named() -> None:
    q, g = np.ones((2, 3)), np.ones((4, 3))
    ids = np.array([1, 1, 2, 2])
    with pytest.raises(ScwmError, match="no query has a match"):
        evaluate_ranking(q, [8, 9], [1, 1], g, ids, ids)
    with pytest.raises(ScwmError, match="do not fit"):
        evaluate_ranking(q, [1], [1, 1], g, ids, ids)
    with pytest.raises(ScwmError, match="differ in length"):
        evaluate_ranking(q[:, :2], [1, 1], [1, 1], g, ids, ids)
    with pytest.raises(ScwmError, match="NaN"):
        evaluate_ranking(q * np.nan, [1, 1], [1, 1], g, ids, ids)
    with pytest.raises(ScwmError, match="no query has a match"):
        evaluate_ranking(q, [1, 1], [1, 1], g, -np.ones(4), ids)

"""Neighbours, Jaccard distance and DBSCAN against plain computations after the definitions."""

import numpy as np
import pytest
import torch
from sklearn.cluster import DBSCAN

from benchmarks.inputs import features, identities
from scwm.core.config import resolve_config
from scwm.core.errors import ScwmError
from scwm.method.labelling import label_images
from scwm.method.pseudo_labels import (
    jaccard_distance,
    nearest_neighbours,
    neighbours,
    pseudo_labels,
)
from scwm.method.pseudo_labels.neighbours import pair_similarities
from scwm.models.embedding import Embedding


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def random_features(count: int = 150, size: int = 16, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, size)))


def clustered_features(
    count: int = 150, size: int = 16, clusters: int = 14, noise: float = 0.25, seed: int = 0
) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = unit(generator.normal(size=(clusters, size)))
    spread = noise * generator.normal(size=(count, size))
    return unit(centres[generator.integers(0, clusters, count)] + spread)


def plain_neighbours(x: np.ndarray, k: int) -> np.ndarray:
    similarities = x.astype(np.float64) @ x.T.astype(np.float64)
    np.fill_diagonal(similarities, np.inf)
    return np.argsort(-similarities.round(12), axis=1, kind="stable")[:, :k]


def plain_jaccard(x: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """The definition, image by image, on dense matrices."""
    count = len(x)
    lists = plain_neighbours(x, min(k1, count))

    def reciprocal(i: int, length: int) -> set[int]:
        return {int(j) for j in lists[i, :length] if i in lists[j, :length]}

    full = [reciprocal(i, k1) for i in range(count)]
    half = [reciprocal(i, int(np.around(k1 / 2)) + 1) for i in range(count)]
    weights = np.zeros((count, count))
    for i in range(count):
        chosen = set(full[i])
        for candidate in full[i]:
            if len(half[candidate] & full[i]) > 2 / 3 * len(half[candidate]):
                chosen |= half[candidate]
        members = sorted(chosen)
        power = np.exp(-(2 - 2 * (x[members].astype(np.float64) @ x[i].astype(np.float64))))
        weights[i, members] = power / power.sum()
    weights = np.stack([weights[lists[i, :k2]].mean(axis=0) for i in range(count)])
    shared = np.stack([np.minimum(weights[i], weights).sum(axis=1) for i in range(count)])
    return np.maximum(1 - shared / (2 - shared), 0).round(9)  # lists may be exactly 1/2 apart


def dense(distance) -> np.ndarray:
    out = np.ones(distance.shape)
    row = np.repeat(np.arange(distance.shape[0]), np.diff(distance.indptr))
    out[row, distance.indices] = distance.data
    return out


@pytest.fixture(params=["faiss", "torch"])
def searched_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "faiss":
        pytest.importorskip("faiss")
    else:
        monkeypatch.setattr(neighbours, "find_spec", lambda _: None)


@pytest.mark.usefixtures("searched_by")
def test_neighbours_are_those_of_the_full_matrix() -> None:
    x = clustered_features(400)
    indices, similarities = nearest_neighbours(x, 30)
    np.testing.assert_array_equal(indices, plain_neighbours(x, 30))
    expected = np.take_along_axis(x @ x.T, indices, axis=1)
    np.testing.assert_allclose(similarities, expected, atol=1e-6)
    assert indices.dtype == np.int64 and similarities.dtype == np.float32


@pytest.mark.usefixtures("searched_by")
@pytest.mark.parametrize("copies", [2, 5, 60])
def test_neighbours_among_duplicates(copies: int) -> None:
    """Duplicates tie exactly: itself first, then by index, also where more tie than are asked."""
    x = np.tile(random_features(37, 19), (copies, 1))
    x = x[np.random.default_rng(1).permutation(len(x))]
    np.testing.assert_array_equal(nearest_neighbours(x, 12)[0], plain_neighbours(x, 12))


def test_all_rows_equal() -> None:
    x = np.tile(random_features(1), (50, 1))
    indices, _ = nearest_neighbours(x, 4)
    np.testing.assert_array_equal(indices[0], [0, 1, 2, 3])
    np.testing.assert_array_equal(indices[40], [40, 0, 1, 2])
    np.testing.assert_array_equal(pseudo_labels(x), np.zeros(50))


def test_more_neighbours_than_rows_gives_all() -> None:
    indices, _ = nearest_neighbours(torch.from_numpy(random_features(7)), 30)
    assert indices.shape == (7, 7)


@pytest.mark.usefixtures("searched_by")
def test_training_precision_does_not_change_neighbours() -> None:
    x = torch.from_numpy(clustered_features(200))
    before = nearest_neighbours(x, 10)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(nearest_neighbours(x, 10)[0], before)


@pytest.mark.parametrize(
    ("k1", "k2"), [(30, 6), (20, 6), (15, 1), (13, 3), (5, 9), (2, 2), (1, 1), (400, 6)]
)
@pytest.mark.parametrize("made_up", [random_features, clustered_features])
def test_jaccard_is_the_dense_definition(made_up, k1: int, k2: int) -> None:
    x = made_up()
    expected = plain_jaccard(x, k1, k2)
    found = jaccard_distance(x, k1, k2)
    np.testing.assert_allclose(dense(found), expected, atol=1e-6)
    assert found.has_sorted_indices and found.data.max() < 1
    for eps in (0.3, 0.5, 0.6, 0.7):
        reference = DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit(expected).labels_
        np.testing.assert_array_equal(pseudo_labels(x, eps, 4, k1, k2), reference)


@pytest.mark.parametrize("rows", [1, 3, 40, 150])
def test_jaccard_of_the_first_images_is_that_part_of_all(rows: int) -> None:
    x = clustered_features()
    found, whole = dense(jaccard_distance(x, rows=rows)), dense(jaccard_distance(x))
    np.testing.assert_array_equal(found[:rows], whole[:rows])
    np.testing.assert_array_equal(found[:, :rows], whole[:, :rows])
    others = found[rows:, rows:]
    np.testing.assert_array_equal(others, 1 - np.eye(len(others)))  # not compared


def test_jaccard_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = clustered_features()
    whole = jaccard_distance(x)
    monkeypatch.setattr("scwm.method.pseudo_labels.jaccard.CHUNK_TERMS", 500)
    monkeypatch.setattr("scwm.method.pseudo_labels.neighbours.CHUNK_ELEMENTS", 64)
    monkeypatch.setattr(neighbours, "find_spec", lambda _: None)  # chunks are of torch's search
    blocks = jaccard_distance(torch.from_numpy(x), neighbours=nearest_neighbours(x, 40))
    np.testing.assert_array_equal(whole.indices, blocks.indices)
    np.testing.assert_allclose(whole.data, blocks.data, atol=1e-7)


def test_threads_and_blocks_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    x = clustered_features(300)
    neighbours = nearest_neighbours(x, 30)
    answers = []
    threads = torch.get_num_threads()
    for count, blocks, slabs in ((1, 1, 1), (1, 16, 4), (3, 7, 5), (3, 300, 300)):
        torch.set_num_threads(count)
        monkeypatch.setattr("scwm.method.pseudo_labels.jaccard.BLOCKS", blocks)
        monkeypatch.setattr("scwm.method.pseudo_labels.jaccard.SLABS", slabs)
        answers.append(jaccard_distance(x, neighbours=neighbours))
    torch.set_num_threads(threads)
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer.indptr, answers[0].indptr)
        np.testing.assert_array_equal(answer.indices, answers[0].indices)
        np.testing.assert_array_equal(answer.data, answers[0].data)


def test_jaccard_is_symmetric_and_zero_on_the_diagonal() -> None:
    found = jaccard_distance(clustered_features())
    np.testing.assert_array_equal(dense(found), dense(found).T)
    np.testing.assert_array_equal(np.diag(dense(found)), 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pairs_are_multiplied_in_full_precision(dtype: torch.dtype) -> None:
    x = clustered_features(60, size=700)
    generator = np.random.default_rng(0)
    rows, columns = np.sort(generator.integers(0, 60, 200)), generator.integers(0, 60, 200)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype == torch.bfloat16):
        found = pair_similarities(torch.from_numpy(x), rows, columns)
    expected = (x[rows].astype(np.float64) * x[columns]).sum(axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_max_distance_only_leaves_out() -> None:
    x = clustered_features()
    whole, near = dense(jaccard_distance(x)), dense(jaccard_distance(x, max_distance=0.5))
    np.testing.assert_array_equal(near, np.where(whole <= 0.5, whole, 1))


@pytest.mark.parametrize(("eps", "min_samples"), [(0.3, 2), (0.5, 4), (0.6, 4), (0.6, 8), (0.9, 4)])
def test_labels_are_those_of_the_dense_distance(eps: float, min_samples: int) -> None:
    """DBSCAN by its definition: components of cores; a border image joins the first it is near."""
    x = clustered_features()
    near = dense(jaccard_distance(x)) <= eps
    core = near.sum(1) >= min_samples
    expected = np.full(len(x), -1)
    for start in np.flatnonzero(core):
        if expected[start] >= 0:
            continue
        number, pending = expected.max() + 1, [start]
        while pending:
            image = pending.pop()
            if expected[image] < 0:
                expected[image] = number
                pending += [*np.flatnonzero(near[image])] if core[image] else []
    labels = pseudo_labels(x, eps, min_samples)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, expected)


def test_made_up_features_cluster_like_real_ones() -> None:
    owner = identities(1500)
    labels = pseudo_labels(features(owner, 512), eps=0.5)
    assert 0.75 < (labels.max() + 1) / (owner.max() + 1) < 1.05
    assert 0.01 < (labels < 0).mean() < 0.08


def test_clusters_are_found() -> None:
    generator = np.random.default_rng(0)
    truth = np.repeat(np.arange(20), 15)
    x = unit(np.eye(20, 32)[truth] + 0.05 * generator.normal(size=(300, 32)))
    labels = pseudo_labels(x)
    assert len(np.unique(labels)) == 20 and all(np.ptp(labels[truth == i]) == 0 for i in range(20))


@pytest.mark.parametrize(
    "change",
    [
        {"features": np.zeros((5, 3), dtype=np.float32)},
        {"features": np.full((5, 3), np.nan, dtype=np.float32)},
        {"features": np.ones(5, dtype=np.float32)},
        {"features": np.ones((1, 5), dtype=np.float32)},
        {"eps": 0.0},
        {"eps": 1.0},
        {"min_samples": 0},
        {"k1": 0},
        {"k2": 0},
    ],
)
def test_mistakes_are_named(change: dict) -> None:
    with pytest.raises(ScwmError):
        pseudo_labels(**({"features": random_features(20)} | change))
    with pytest.raises(ScwmError):
        nearest_neighbours(random_features(20), 0)
    few = np.zeros((3, 2), dtype=np.int64), np.zeros((3, 2))
    with pytest.raises(ScwmError, match="neighbour lists of 20 x 20"):
        jaccard_distance(random_features(20), neighbours=few)


def test_image_without_a_visible_part_stays_unclustered():
    """By the feature of the parts; the others have the clusters that they have without it."""
    parts = torch.from_numpy(clustered_features(90, 24)).view(-1, 3, 8)
    seen = torch.ones(90, 3)
    seen[[4, 50]] = 0
    config = resolve_config("scwm", "toy", 0, {"pseudo_labels": {"feature": "parts", "k1": 10}})
    embedding = Embedding(parts.flatten(1), parts, seen)
    found = label_images(config, embedding, np.arange(90))
    kept = np.delete(np.arange(90), [4, 50])
    alone = Embedding(parts[kept].flatten(1), parts[kept], seen[kept])
    assert (found[[4, 50]] == -1).all()
    assert torch.equal(found[kept], label_images(config, alone, np.arange(88)))

"""SpCL's criterion against its definition, with sets of images."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from scwm.core.errors import ScwmError
from scwm.method.pseudo_labels import jaccard_distance, pseudo_labels
from scwm.method.pseudo_labels.clusterings import dbscan
from scwm.method.pseudo_labels.numbers import own_classes
from scwm.method.pseudo_labels.reliability import Reliability, overlap

EMPTY = np.full(5, -1)


def members(labels: np.ndarray) -> list[set[int]]:
    """The images that share each image's cluster; an unclustered image is by itself."""
    return [
        {j for j in range(len(labels)) if labels[i] >= 0 and labels[j] == labels[i]} | {i}
        for i in range(len(labels))
    ]


def plain_split(labels, tight, loose, limit):
    """The clusters that stay, as a set of sets of at least two images, and the limit."""
    own, small, large = map(members, (labels, tight, loose))
    compact = [len(a & t) / len(a | t) for a, t in zip(own, small, strict=True)]
    independent = [len(a & b) / len(a | b) for a, b in zip(own, large, strict=True)]
    clusters = sorted({tuple(sorted(a)) for a in own if len(a) > 1})
    whole = {cluster: max(independent[i] for i in cluster) for cluster in clusters}
    if limit is None:
        descending = sorted(whole.values(), reverse=True)
        limit = descending[min(len(descending) - 1, round(0.9 * len(descending)))]
    stay = set()
    for cluster in clusters:
        most = max(compact[i] for i in cluster)
        kept = frozenset(i for i in cluster if compact[i] == most)
        if whole[cluster] >= limit and len(kept) > 1:
            stay.add(kept)
    return stay, limit


def as_sets(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == name)) for name in set(labels[labels >= 0])}


def draw(rng: np.random.Generator, images: int, clusters: int) -> np.ndarray:
    labels = rng.integers(-1, clusters, images)
    labels[labels >= 0] = np.unique(labels[labels >= 0], return_inverse=True)[1]
    return labels


@pytest.mark.parametrize("seed", range(12))
def test_split_is_the_definition_over_epochs(seed):
    """Drawn clusterings, of which some clusters have one image; the first epoch sets the limit."""
    rng, limit = np.random.default_rng(seed), None
    ours = Reliability(0.02)
    for _ in range(3):
        labels = draw(rng, 40, 9)
        tight, loose = labels.copy(), labels.copy()
        tight[rng.random(40) < 0.1] = -1
        change = rng.random(40) < 0.1
        loose[change] = draw(rng, 40, 4)[change]
        expected, limit = plain_split(labels, tight, loose, limit)
        found = ours.split(labels, tight, loose)
        assert as_sets(found) == expected and ours.limit == pytest.approx(limit)
        names = found[found >= 0]
        assert found.dtype == np.int64 and set(names) == set(range(len(expected)))
        assert [*dict.fromkeys(names)] == sorted(set(names)), "numbered by their first images"


def test_a_cluster_that_grows_at_the_larger_radius_is_split():
    labels = np.repeat([0, 1, 2, 3], 4)
    loose = np.repeat([0, 1, 2, 2], 4)
    found = Reliability(0.02, limit=0.6).split(labels, labels, loose)
    np.testing.assert_array_equal(found, np.repeat([0, 1, -1, -1], 4))
    whole = Reliability(0.02, limit=0.5).split(labels, labels, loose)
    np.testing.assert_array_equal(whole, labels)


def test_images_that_leave_at_the_smaller_radius_are_unclustered():
    labels = np.repeat([0, 1], 5)
    tight = np.array([0, 0, 0, -1, -1, 1, 1, 1, 2, 2])
    found = Reliability(0.02).split(labels, tight, labels)
    np.testing.assert_array_equal(found, [0, 0, 0, -1, -1, 1, 1, 1, -1, -1])


def test_a_cluster_of_one_image_is_unclustered():
    """DBSCAN makes one if the neighbours of a core belong to other clusters."""
    labels = np.array([0, 0, 1, -1])
    found = Reliability(0.02).split(labels, labels, labels)
    np.testing.assert_array_equal(found, [0, 0, -1, -1])


def test_the_limit_is_that_of_the_first_labels():
    labels, grown = np.repeat(np.arange(10), 4), np.repeat(np.arange(10) // 2, 4)
    reliability = Reliability(0.02)
    np.testing.assert_array_equal(reliability.split(labels, labels, labels), labels)
    assert reliability.limit == 1
    assert (reliability.split(labels, labels, grown) == -1).all()
    np.testing.assert_array_equal(Reliability(0.02).split(labels, labels, grown), labels)


def test_without_clusters_there_is_no_limit_yet():
    reliability = Reliability(0.02)
    np.testing.assert_array_equal(reliability.split(EMPTY, EMPTY, EMPTY), EMPTY)
    assert reliability.limit is None


def test_overlap_is_that_of_sets():
    rng = np.random.default_rng(0)
    one, other = draw(rng, 60, 8), draw(rng, 60, 5)
    expected = [len(a & b) / len(a | b) for a, b in zip(members(one), members(other), strict=True)]
    np.testing.assert_allclose(overlap(own_classes(one), own_classes(other)), expected)


def test_own_classes_follow_the_clusters():
    found = own_classes(np.array([1, -1, 0, -1, 1]))
    np.testing.assert_array_equal(found, [1, 2, 0, 3, 1])
    np.testing.assert_array_equal(own_classes(EMPTY), np.arange(5))


def noisy_people(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(20), 8)
    x = rng.normal(size=(20, 32))[ids] + 0.9 * rng.normal(size=(160, 32))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), ids


def test_pseudo_labels_are_split_by_the_clusterings_at_both_radii():
    x, ids = noisy_people(0)
    arguments = {"eps": 0.5, "min_samples": 4, "k1": 12, "k2": 4}
    near = jaccard_distance(x, 12, 4)
    expected = Reliability(0.05).split(*(dbscan.cluster(near, eps, 4) for eps in (0.5, 0.45, 0.55)))
    found = pseudo_labels(x, **arguments, reliability=Reliability(0.05))
    np.testing.assert_array_equal(found, expected)
    plain = pseudo_labels(x, **arguments)
    assert (found >= 0).sum() < (plain >= 0).sum()
    assert adjusted_rand_score(ids[found >= 0], found[found >= 0]) > 0.9


@pytest.mark.parametrize(("eps", "gap"), [(0.3, 0.3), (0.7, 0.3), (0.95, 0.2)])
def test_radii_outside_of_the_distance_are_an_error(eps, gap):
    with pytest.raises(ScwmError, match="between 0 and 1"):
        pseudo_labels(noisy_people(0)[0], eps, reliability=Reliability(gap))

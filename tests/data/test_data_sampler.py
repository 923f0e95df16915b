"""Invariants of the P x K sampler."""

import numpy as np
import pytest

from scwm.core.errors import ScwmError
from scwm.data.sampler import filled_batches, identity_batches

LABELS = np.array([-1] * 7 + [3] * 5 + [0] * 2 + [9] * 8 + [4] * 4 + [5] * 4)


def batches(identities, instances, iterations, labels=LABELS, seed=0):
    return list(
        identity_batches(labels, identities, instances, iterations, np.random.default_rng(seed))
    )


def test_batches_have_the_asked_form():
    for rows in batches(3, 4, 50):
        groups = LABELS[rows].reshape(3, 4)
        assert rows.dtype == np.int64 and rows.shape == (12,)
        assert (groups == groups[:, :1]).all() and (groups >= 0).all()
        assert len(set(groups[:, 0])) == 3
        for label, drawn in zip(groups[:, 0], rows.reshape(3, 4), strict=True):
            uses = np.bincount(drawn)[np.unique(drawn)]
            if np.count_nonzero(label == LABELS) >= 4:
                assert len(set(drawn)) == 4
            else:  # two images, each twice
                assert sorted(uses) == [2, 2]


def test_no_identity_repeats_before_all_have_come():
    seen = np.concatenate([LABELS[rows].reshape(3, 4)[:, 0] for rows in batches(3, 4, 40)])
    for end in range(3, len(seen) + 1, 3):
        uses = np.bincount(seen[:end], minlength=10)[[0, 3, 4, 5, 9]]
        assert np.ptp(uses) <= 1


def test_few_clusters_give_smaller_batches():
    assert {len(rows) for rows in batches(16, 4, 5)} == {5 * 4}


def test_seed_decides():
    assert all(map(np.array_equal, batches(3, 4, 9), batches(3, 4, 9)))
    assert not all(map(np.array_equal, batches(3, 4, 9), batches(3, 4, 9, seed=1)))


def test_no_cluster_is_an_error():
    with pytest.raises(ScwmError, match="no cluster"):
        batches(2, 2, 1, labels=np.full(5, -1))


def test_rows_come_from_other_cameras_than_the_first():
    """Of three cameras; of one; of unknown ones, which may all differ; of one row."""
    cameras = np.array([1, 1, 1, 1, 1, 2, 2, 4, 4, 3, 3, 3, 3, -1, -1, -1, 5])
    labels = np.repeat([0, 1, 2, 3], [9, 4, 3, 1])
    generator, firsts = np.random.default_rng(0), []
    for batch in identity_batches(labels, 4, 5, 200, generator, cameras):
        for rows in batch.reshape(4, 5):
            name, (first, *others) = labels[rows[0]], rows
            firsts.append(first)
            assert (labels[rows] == name).all()
            if name == 0:
                assert cameras[first] not in cameras[others]
                elsewhere = np.count_nonzero((labels == 0) & (cameras != cameras[first]))
                assert len(set(others)) == min(4, elsewhere)
            elif name < 3:
                assert first not in others and len(set(others)) == np.sum(labels == name) - 1
            else:
                assert set(others) == {first}
    for draw in (identity_batches, filled_batches):
        (alone,) = draw(labels, 4, 1, 1, generator, cameras)
        assert sorted(labels[alone]) == [0, 1, 2, 3]
    counts = np.bincount(firsts)
    assert (abs(counts[:9] - 200 / 9) < 20).all()  # each row is as often the first


SINGLES = np.concatenate([LABELS, np.arange(20, 31)])  # 5 identities, and 11 of one image


def filled(identities, instances, iterations, labels=SINGLES, seed=0):
    return list(
        filled_batches(labels, identities, instances, iterations, np.random.default_rng(seed))
    )


def test_an_identity_of_one_image_appears_once():
    """A pass holds 5 x 4 and 11 rows: 3 batches of 8, of which each image of its own is in one."""
    drawn = filled(2, 4, 30)
    assert all(rows.dtype == np.int64 and rows.shape == (8,) for rows in drawn)
    for first in range(0, 30, 3):
        names, counts = np.unique(
            SINGLES[np.concatenate(drawn[first : first + 3])], return_counts=True
        )
        assert names.min() >= 0 and (counts[names >= 20] == 1).all()
        assert (counts <= 4).all() and np.count_nonzero(counts == 4) >= 3
    assert set(np.concatenate(drawn)) == set(np.flatnonzero(SINGLES >= 0))


def test_rows_of_an_identity_follow_each_other_and_differ():
    for rows in filled(4, 4, 40):
        names = SINGLES[rows]
        assert len(set(names)) == np.count_nonzero(np.diff(names)) + 1
        for name in set(names[names != 0]):  # identity 0 has two images
            own = rows[names == name]
            assert len(set(own)) == len(own)


def test_all_images_make_a_batch_where_they_are_few():
    assert {len(rows) for rows in filled(16, 4, 5)} == {5 * 4 + 11}
    assert {len(rows) for rows in filled(2, 4, 3, labels=np.arange(5))} == {5}


def test_seed_decides_filled_batches():
    assert all(map(np.array_equal, filled(3, 4, 9), filled(3, 4, 9)))
    assert not all(map(np.array_equal, filled(3, 4, 9), filled(3, 4, 9, seed=1)))
    with pytest.raises(ScwmError, match="no cluster"):
        filled(2, 2, 1, labels=np.full(5, -1))

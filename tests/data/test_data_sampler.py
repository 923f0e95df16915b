"""Invariants of the P x K sampler."""

import numpy as np
import pytest

from scwm.core.errors import ScwmError
from scwm.data.sampler import identity_batches

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


def test_cameras_take_turns():
    labels, cameras = np.zeros(9, int), np.array([1, 1, 1, 1, 1, 2, 2, 4, 4])
    generator = np.random.default_rng(0)
    for batch in identity_batches(labels, 1, 6, 50, generator, cameras):
        assert len(set(batch)) == 6
        assert sorted(cameras[batch[:3]]) == [1, 2, 4] and sorted(cameras[batch[3:]]) == [1, 2, 4]

"""The images that figures show."""

import numpy as np

from scwm.data.store import StoreSplit
from scwm.evaluation.examples import spread


def split_of(masks: np.ndarray | None, count: int = 20) -> StoreSplit:
    rows = np.arange(count)
    images = np.zeros((count, 8, 4, 3), dtype=np.uint8)
    return StoreSplit(images, rows, rows, [f"{row}.png" for row in rows], masks)


def test_people_cut_by_a_border_are_not_shown():
    masks = np.zeros((20, 8, 4), dtype=np.uint8)
    masks[:, 2:6, 1:3] = 1
    cut = {1: np.s_[0, 1], 4: np.s_[7, 2], 9: np.s_[3, 0], 16: np.s_[3, 3]}
    for row, place in cut.items():
        masks[row][place] = 2
    whole = [row for row in range(20) if row not in cut]
    assert list(spread(split_of(masks), 16)) == whole
    assert list(spread(split_of(masks), 2)) == [0, 19]
    assert set(spread(split_of(masks), 6)) <= set(whole)


def test_rows_are_evenly_spread_where_too_few_people_are_known_to_be_whole():
    for masks in (None, np.ones((20, 8, 4), dtype=np.uint8)):
        assert list(spread(split_of(masks), 3)) == [0, 9, 19]
        assert list(spread(split_of(masks), 30)) == list(range(20))

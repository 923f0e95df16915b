"""Student's paired test, Holm's correction and the number of seeds, against published values."""

import numpy as np
import pytest
from scipy import stats

from scwm.reporting.paired import (
    equal_by_chance,
    half_width,
    holm,
    seeds_needed,
    t_interval,
    t_test,
)


def test_t_interval_of_known_values():
    """Mean 5, standard deviation 1, n 3: 5 ± 4.303 / sqrt(3), the quantile from Student's table."""
    np.testing.assert_allclose(t_interval([4, 5, 6]), (5 - 2.4843, 5 + 2.4843), atol=1e-3)
    np.testing.assert_allclose(t_interval([1, 3]), (2 - 12.706, 2 + 12.706), atol=1e-3)
    np.testing.assert_allclose(half_width([4, 5, 6], 0.01), 9.925 / 3**0.5, atol=1e-3)


@pytest.mark.parametrize("n", [2, 5, 40])
def test_t_test_is_scipys_and_its_interval_ends_there(n):
    effects = np.random.default_rng(n).normal(1, 2, n)
    expected = stats.ttest_1samp(effects, 0.5)
    assert t_test(effects, 0.5) == pytest.approx(expected.pvalue)
    for end in t_interval(effects, 0.02):
        assert t_test(effects, end) == pytest.approx(0.02)


def test_equal_differences_have_an_interval_of_one_point():
    assert t_test([0.1, 0.1, 0.1], 0.1) == t_test([0.1, 0.1, 0.1], 0) == 0
    np.testing.assert_allclose(t_interval([0.1, 0.1, 0.1]), (0.1, 0.1))


def test_two_equal_differences_may_be_chance():
    """Two of 98 queries more in both of two seeds."""
    assert t_test([2 / 98, 2 / 98], 0) == 1 and equal_by_chance([2 / 98, 2 / 98])
    assert t_test([0.0, 0.0], 0) == 0 and not equal_by_chance([0.0, 0.0])


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        # The textbook's example: 4 × 0.005, 3 × 0.01, 2 × 0.03; 0.04 takes the value before it.
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.6, 0.5], [1, 1]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.04], [0.04]),
        ([], []),
    ],
)
def test_holm_is_the_step_down_by_hand(p_values, corrected):
    assert holm(p_values) == pytest.approx(corrected)


@pytest.mark.parametrize(("effect", "needed"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_are_the_published_sizes(effect, needed):
    """Sizes of the paired t test with 5 % and 80 %, in standard deviations (G*Power's tables)."""
    assert seeds_needed(1.0, effect) == needed
    assert seeds_needed(3.0, 3 * effect) == needed


def test_two_seeds_are_needed_at_least():
    assert seeds_needed(0.0, 2.0) == seeds_needed(1e-6, 2.0) == 2


def test_seeds_needed_decide_four_times_in_five():
    """Drawn runs: deviation 3, effect 2."""
    n = seeds_needed(3.0, 2.0)
    draws = np.random.default_rng(0).normal(2.0, 3.0, (4000, n))
    shares = [
        (stats.ttest_1samp(draws[:, :k], 0, axis=1).pvalue <= 0.05).mean() for k in (n, n - 3)
    ]
    assert 0.78 < shares[0] < 0.83 and shares[1] < 0.78

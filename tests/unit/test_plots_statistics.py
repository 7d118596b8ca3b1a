"""Means, intervals and differences over seeds, against scipy and by hand."""
import sys
from math import isnan

import pytest

from pruning.errors import UserError
from pruning.plots.statistics import difference, estimate, t_quantile


def test_the_quantiles_are_those_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    for freedom in [*range(1, 60), 120, 1000, 10 ** 6]:
        assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-5), freedom


def test_an_interval_is_that_of_scipy_and_by_hand():
    stats = pytest.importorskip("scipy.stats")
    # Standard deviation of 91.5, 91, 94 by hand; t(0.975) with 2 degrees of freedom is 4.3027.
    by_hand = 4.3027 * ((0.667 ** 2 + 1.167 ** 2 + 1.833 ** 2) / 2 / 3) ** 0.5
    assert estimate([91.5, 91.0, 94.0]) == pytest.approx(((91.5 + 91 + 94) / 3, by_hand), rel=1e-3)
    values = [0.1, 7.5, -3.0, 2.5, 2.5, 11.0, 0.0]
    low, high = stats.t.interval(0.95, 6, sum(values) / 7, stats.sem(values))
    assert estimate(values) == pytest.approx(((low + high) / 2, (high - low) / 2))
    assert estimate([5.0]) == (5.0, None) and estimate([5.0, 5.0]) == (5.0, 0.0)
    inf = float("inf")  # in place of an OverflowError or a ValueError
    assert estimate([1e308, 0.0]).half == estimate([1.7e308, 1.7e308]).mean == inf and isnan(estimate([inf, -inf]).mean)


def by_seed(values):
    return dict(enumerate(values))


def test_a_difference_is_paired_by_seed_and_has_the_p_value_of_the_paired_t_test():
    pytest.importorskip("scipy")
    found = difference({1: 90.0, 2: 92.0, 3: 94.0, 7: 0.0}, {3: 97.0, 1: 95.0, 2: 96.0}, float)
    # -5, -4, -3: t = -4 sqrt(3); with 2 degrees of freedom p = 1 - |t| / sqrt(2 + t^2).
    assert (found.mean, found.n, found.pairs) == (-4.0, 3, [-5.0, -4.0, -3.0])
    assert found.half == pytest.approx(4.3027 / 3 ** 0.5, rel=1e-4)
    assert found.p == pytest.approx(1 - 48 ** 0.5 / 50 ** 0.5) and found.wilcoxon is None
    assert difference({1: 90.0}, {2: 90.0}, float) is None
    alone = difference({1: 90.0}, {1: 89.0}, float)
    assert (alone.mean, alone.half, alone.n, alone.p) == (1.0, None, 1, None)


def test_wilcoxon_is_there_from_six_pairs_on():
    pytest.importorskip("scipy")
    none = [95.0, 96.0, 97.0, 95.5, 96.5, 97.5]
    values = [value - 1 - seed / 8 for seed, value in enumerate(none)]
    # All six differences have one sign: p = 2 / 2^6.
    assert difference(by_seed(values), by_seed(none), float).wilcoxon == pytest.approx(2 / 2 ** 6)
    assert difference(by_seed(values[:5]), by_seed(none), float).wilcoxon is None


def test_equal_differences_are_equal_for_the_tests():
    stats = pytest.importorskip("scipy.stats")
    none = [95.1, 10.3, 3.3, 97.7, 64.4, 0.7]
    losses = [0.1, -0.1, 0.1, 0.1, 0.1, 0.1]
    assert len({value - (value - loss) for value, loss in zip(none, losses)}) > 2  # in floating point
    found = difference(by_seed(value - loss for value, loss in zip(none, losses)), by_seed(none), float)
    # Ties; an older scipy has another p of them.
    assert found.wilcoxon == stats.wilcoxon([-1, 1, -1, -1, -1, -1]).pvalue
    same = difference(by_seed([1.0] * 6), by_seed([0.9] * 6), float)
    assert (same.p, same.wilcoxon) == (None, None)


def test_without_scipy_there_are_means_and_intervals_and_one_line_for_the_tests(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    found = difference({1: 2.0, 2: 4.0}, {1: 1.0, 2: 1.0}, float)
    assert found.mean == 2.0 and found.half == pytest.approx(12.7062, rel=1e-5)
    with pytest.raises(UserError, match="needs scipy for its p-values: pip install scipy"):
        assert found.p

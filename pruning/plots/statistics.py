"""Means over seeds with 95 % t-intervals, and differences between arms, paired by seed, with their tests."""
import math
from collections import namedtuple

from pruning.errors import UserError

# The 97.5 % quantiles of Student's t: with 1 to 10 degrees of freedom, and the coefficients of their expansion in
# 1 / freedom beyond (Abramowitz and Stegun, 26.7.5).
T = [12.706204736175, 4.302652729749, 3.182446305284, 2.776445105198, 2.570581835636, 2.446911851145, 2.364624251593,
     2.306004135204, 2.262157162798, 2.228138851986]
EXPANSION = [1.959963984540, 2.372271230299, 2.822498615740, 2.555849679508, 1.589534053394]

Estimate = namedtuple("Estimate", "mean half")  # half the width of the 95 % t-interval, None of a single value


class Difference(namedtuple("Difference", "mean half n pairs")):
    """The mean of n differences, `pairs`, and half its interval. The tests need scipy and are computed on demand."""

    @property
    def p(self):
        """The p-value of the paired t-test; None without a spread to test against."""
        return scipy_stats().ttest_1samp(self.pairs, 0).pvalue if len(set(self.pairs)) > 1 else None

    @property
    def wilcoxon(self):
        """The p-value of Wilcoxon's signed-rank test, from 6 pairs on; slow if all differences are equal."""
        return scipy_stats().wilcoxon(self.pairs).pvalue if self.n > 5 and len(set(self.pairs)) > 1 else None


def mean(values):
    try:
        return math.fsum(values) / len(values)  # the same in every Python: sum() is more exact from 3.12 on
    except (OverflowError, ValueError):  # huge losses, or infinite ones of both signs
        return sum(values) / len(values)


def t_quantile(freedom):
    """The 97.5 % quantile of Student's t with so many degrees of freedom, to five digits or more."""
    if freedom <= len(T):
        return T[freedom - 1]
    return sum(coefficient / freedom ** power for power, coefficient in enumerate(EXPANSION))


def estimate(values):
    """The mean of a list and half the width of its 95 % t-interval."""
    middle, freedom = mean(values), len(values) - 1
    if not freedom:
        return Estimate(middle, None)
    # Not ** 2: Python raises if the square of a huge loss overflows, and the product is infinite.
    variance = sum((value - middle) * (value - middle) for value in values) / freedom
    return Estimate(middle, t_quantile(freedom) * (variance / len(values)) ** 0.5)


def difference(runs, control, value):
    """value(run) minus that of the control arm's run of the same seed, for arms as {seed: run}; None without a pair."""
    # Rounded: equal differences of logged numbers may differ in their last bits, and Wilcoxon's test looks for equals.
    pairs = [round(value(run) - value(control[seed]), 9) for seed, run in runs.items() if seed in control]
    return Difference(*estimate(pairs), len(pairs), pairs) if pairs else None


def scipy_stats():
    try:
        from scipy import stats
    except ImportError:
        raise UserError("--table needs scipy for its p-values: pip install scipy")
    return stats

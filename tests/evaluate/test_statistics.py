"""Intervals, paired differences and power, against hand-computed numbers and simulated coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from headstart.evaluate.statistics import (
    Interval,
    bootstrap_interval,
    mean_interval,
    more_seeds,
    more_test_rows,
    paired_difference,
    seeds_needed,
    wilson,
)


def test_the_t_interval_of_five_seeds_is_the_one_computed_by_hand():
    # mean .72, sd .0158114, se .00707107, t(.95, 4) = 2.131847: half width .0150744
    interval = mean_interval([0.70, 0.71, 0.72, 0.73, 0.74])
    assert interval.low == pytest.approx(0.72 - 0.0150744, abs=1e-6)
    assert interval.high == pytest.approx(0.72 + 0.0150744, abs=1e-6)


def test_pairing_takes_the_luck_of_the_draw_off_but_unpaired_seeds_keep_it():
    luck = np.array([-0.04, 0.02, 0.05, -0.01, 0.03])
    noise = np.array([0.001, -0.002, 0.0, 0.002, -0.001])
    paired = paired_difference(0.72 + luck + noise, 0.70 + luck)
    shuffled = paired_difference(0.72 + luck + noise, 0.70 + luck[[3, 4, 0, 2, 1]])
    assert paired.mean == pytest.approx(0.02)
    assert paired.interval.low > 0.015
    assert shuffled.interval.low < 0


def test_seeds_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="leave out the seeds that only one arm has"):
        paired_difference([0.7, 0.8], [0.6])


def test_one_seed_gives_an_unbounded_interval():
    assert mean_interval([0.8]) == Interval(-math.inf, math.inf)
    assert math.isinf(paired_difference([0.8], [0.7]).se)


def test_test_noise_is_found_where_seeds_agree_and_not_counted_where_they_do_not():
    rng = np.random.default_rng(0)
    rows = 4000
    own, control = rng.random(rows) < 0.8, rng.random(rows) < 0.7
    same = paired_difference(
        [own.mean()] * 3,
        [control.mean()] * 3,
        own_correct=np.tile(own, (3, 1)),
        control_correct=np.tile(control, (3, 1)),
    )
    # seeds agree, so all noise is that of the rows: sd of a row's gap is sqrt(.8*.2 + .7*.3) = .608
    assert same.test_se == pytest.approx(0.608 / math.sqrt(rows), rel=0.05)
    noisy = paired_difference(
        [0.8] * 50,
        [0.7] * 50,
        own_correct=rng.random((50, rows)) < 0.8,
        control_correct=rng.random((50, rows)) < 0.7,
    )
    assert noisy.test_se < 0.35 * same.test_se


def test_the_bca_interval_is_that_of_scipy_and_repeats_itself():
    values = np.random.default_rng(1).exponential(size=40)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    theirs = stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=20000, rng=np.random.default_rng(7)
    ).confidence_interval
    assert mean_interval(values).low == pytest.approx(theirs.low, abs=0.03)
    assert mean_interval(values).high == pytest.approx(theirs.high, abs=0.03)


def test_wilson_agrees_with_scipy_and_stays_between_0_and_1():
    theirs = stats.binomtest(83, 100).proportion_ci(0.9, method="wilson")
    assert (wilson(83, 100).low, wilson(83, 100).high) == pytest.approx((theirs.low, theirs.high))
    assert wilson(20, 20).high == pytest.approx(1.0)
    assert wilson(20, 20).low < 1.0
    with pytest.raises(ValueError, match="need 0 <= right <= total"):
        wilson(5, 4)


def test_the_seeds_named_have_the_power_named_and_one_fewer_does_not():
    n = seeds_needed(0.01, 0.02)
    rng = np.random.default_rng(0)

    def power(seeds):
        draws = rng.normal(0.01, 0.02, (20000, seeds))
        low = draws.mean(1) - stats.t.ppf(0.95, seeds - 1) * draws.std(1, ddof=1) / math.sqrt(seeds)
        return float((low > 0).mean())

    assert power(n) == pytest.approx(0.8, abs=0.02)
    assert power(n - 3) < 0.78
    assert more_seeds(0.01, 0.02, have=5) == n - 5
    assert more_seeds(0.5, 0.02, have=5) == 0
    assert seeds_needed(0.0, 0.02) == 10_000


def test_four_times_the_test_rows_resolve_half_the_difference():
    assert more_test_rows(0.0248648, 0.01, have=1000) == 0  # z(.80) + z(.95) = 2.48648
    assert more_test_rows(0.0124324, 0.01, have=1000) == pytest.approx(3000, abs=1)

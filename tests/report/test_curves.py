"""Crossover and label-equivalence against curves whose answers are known."""

import math

import numpy as np
import pytest

from headstart.evaluate.differences import best_against_best
from headstart.report.curves import arm_curve, crossover, label_equivalence, smooth
from planted_worlds import ARMS, COUNTS, as_table, plant, sample


def differences(own, controls, *, noise=0.0001, seed=0):
    """One own arm and one control with these true means and hardly any noise."""
    rng = np.random.default_rng(seed)
    arms = [
        np.asarray(means)[None, None] + rng.normal(0, noise, (1, 5, 4)) for means in (own, controls)
    ]
    return best_against_best(*arms, labels=COUNTS)


def test_the_crossover_is_where_the_straight_lines_on_the_log_axis_meet():
    # +4, +2, -1, -3 points: zero is two thirds of the way from log 200 to log 800
    result = crossover(differences([0.64, 0.62, 0.59, 0.57], [0.6] * 4), margin=0.0)
    expected = math.exp(math.log(200) + (2 / 3) * math.log(4))
    assert result.estimate == pytest.approx(expected, rel=0.03)
    assert result.interval.contains(expected)
    assert result.interval.high / result.interval.low < 1.3
    earlier = crossover(differences([0.64, 0.62, 0.59, 0.57], [0.6] * 4), margin=0.01)
    assert earlier.estimate < result.estimate


def test_an_advantage_that_never_ends_has_no_crossover_and_one_that_never_starts_is_below_all():
    never = crossover(differences([0.64, 0.64, 0.63, 0.63], [0.6] * 4), margin=0.0)
    assert (never.estimate, never.interval.high) == (math.inf, math.inf)
    below = crossover(differences([0.55] * 4, [0.6] * 4), margin=0.0)
    assert (below.estimate, below.interval.low) == (0.0, 0.0)


def test_a_rising_advantage_is_crossed_the_other_way():
    result = crossover(differences([0.57, 0.59, 0.62, 0.64], [0.6] * 4), margin=0.0, falling=False)
    assert result.estimate == pytest.approx(math.exp(math.log(200) + math.log(4) / 3), rel=0.03)


def test_label_equivalence_reads_the_controls_curve_backwards():
    # the control gains 5 points for each fourfold; own at 50 has what the control has at 400
    controls = [0.60, 0.65, 0.70, 0.75]
    result = label_equivalence(differences([0.675, 0.7, 0.72, 0.74], controls), 0)
    assert result.estimate == pytest.approx(400, rel=0.03)
    assert result.interval.contains(400)
    beyond = label_equivalence(differences([0.80] * 4, controls), 0)
    assert math.isinf(beyond.estimate)
    assert math.isinf(beyond.interval.high)


def test_smoothing_only_removes_what_contradicts_the_direction():
    assert smooth([3.0, 1.0, 2.0, 0.0], np.ones(4), rising=False).tolist() == [3.0, 1.5, 1.5, 0.0]
    assert smooth([3.0, 2.0, 1.0], np.ones(3), rising=False).tolist() == [3.0, 2.0, 1.0]


def test_a_learning_curve_has_the_mean_the_interval_and_the_cost_of_its_cells():
    world = plant("x", np.zeros(4), level=2.0, rng=np.random.default_rng(0))
    scores = sample(world, np.random.default_rng(1))
    curve = arm_curve(as_table(scores), "tfidf")
    assert [point.labels for point in curve] == COUNTS.tolist()
    tfidf = [arm.name for arm in ARMS].index("tfidf")
    assert curve[1].mean == pytest.approx(scores[tfidf, :, 1].mean())
    assert curve[1].interval.contains(curve[1].mean)
    assert curve[3].seconds == pytest.approx(2.0)

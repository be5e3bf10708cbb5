"""Intervals from drawing test rows again."""

import numpy as np
import pytest

from headstart.evaluate.metrics import score
from headstart.evaluate.resampling import _measure, difference_interval, score_interval

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("kind", "metric"),
    [
        ("classes", "accuracy"),
        ("classes", "macro-F1"),
        ("multilabel", "micro-F1"),
        ("multilabel", "macro-F1"),
        ("number", "Spearman"),
    ],
)
def test_the_quick_metrics_equal_the_real_ones(kind, metric):
    for _ in range(5):
        if kind == "classes":
            answers, gold = RNG.integers(0, 4, 30), RNG.integers(0, 3, 30)
        elif kind == "multilabel":
            answers, gold = RNG.integers(0, 2, (20, 3)), RNG.integers(0, 2, (20, 3))
        else:
            answers, gold = RNG.normal(size=20), RNG.normal(size=20)
        expected = score(answers, gold, kind=kind, metric=metric).value
        assert _measure(kind, metric)(answers, gold) == pytest.approx(expected)


def test_one_models_accuracy_has_wilsons_interval():
    gold = np.zeros(50, dtype=int)
    found = score_interval(gold[None], gold, kind="classes", metric="accuracy")
    # all right: centre and half width are both z² / (2n) over 1 + z²/n, so low = n / (n + z²)
    assert (found.low, found.high) == (pytest.approx(50 / (50 + 1.959964**2)), pytest.approx(1.0))


def test_intervals_hold_the_true_accuracy_about_95_times_in_100():
    hits = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        gold = np.zeros(120, dtype=int)
        answers = (rng.random((2, 120)) < 0.3).astype(int)
        found = score_interval(answers, gold, kind="classes", metric="accuracy", seed=trial)
        hits += found.contains(0.7)
    assert hits >= 52


def test_a_real_difference_excludes_zero_and_none_does_not():
    rng = np.random.default_rng(1)
    gold = rng.integers(0, 2, 300)
    weak = np.where(rng.random(300) < 0.7, gold, 1 - gold)
    strong = np.where(rng.random(300) < 0.9, gold, 1 - gold)
    better = difference_interval(weak, strong, gold, kind="classes", metric="accuracy")
    assert better.low > 0
    same = difference_interval(weak, weak.copy(), gold, kind="classes", metric="accuracy")
    assert (same.low, same.high) == (0.0, 0.0)
    gap = (strong == gold).mean() - (weak == gold).mean()
    assert better.contains(gap)


def test_pairing_narrows_the_interval_of_a_difference():
    rng = np.random.default_rng(2)
    gold = rng.integers(0, 2, 300)
    first = np.where(rng.random(300) < 0.7, gold, 1 - gold)
    second = first.copy()
    fixed = np.flatnonzero(first != gold)[:10]
    second[fixed] = gold[fixed]
    paired = difference_interval(first, second, gold, kind="classes", metric="accuracy")
    mixed = difference_interval(
        first, rng.permutation(second), gold, kind="classes", metric="accuracy"
    )
    assert paired.low > 0
    assert paired.high - paired.low < 0.5 * (mixed.high - mixed.low)

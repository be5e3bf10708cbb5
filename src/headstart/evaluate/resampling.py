"""How far a score, or the difference of two, can be trusted: by drawing the test rows again.

In: answers of one or several trained models on the same test rows. Out: 95 % intervals. Rows are
drawn with replacement, the same rows for both sides of a comparison; where several seeds were
trained, these are drawn too. A single model's accuracy gets Wilson's interval, which is sound near
0 and 1.

Legend: S seeds, N test rows, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from headstart.data.labels import Kind
from headstart.evaluate.baselines import Labels
from headstart.evaluate.metrics import Metric, score
from headstart.evaluate.statistics import Floats, Interval, wilson

LEVEL = 0.95
DRAWS = 1000


def score_interval(
    answers: Labels, gold: Labels, *, kind: Kind, metric: Metric, seed: int = 0
) -> Interval:
    """Interval of the mean score over seeds.

    answers: (S, N) or (S, N, C); gold: (N,) or (N, C).
    """
    if metric == "accuracy" and len(answers) == 1:
        return wilson(int((answers[0] == gold).sum()), len(gold), level=LEVEL)
    measure = _measure(kind, metric)
    return _interval(_draws(answers, gold, measure, seed))


def difference_interval(
    first: Labels, second: Labels, gold: Labels, *, kind: Kind, metric: Metric, seed: int = 0
) -> Interval:
    """Interval of the second score minus the first, over the same rows.

    first, second: (N,) or (N, C), answers of two models.
    """
    measure = _measure(kind, metric)
    one = _draws(first[None], gold, measure, seed)
    two = _draws(second[None], gold, measure, seed)
    return _interval(two - one)


def _draws(
    answers: Labels, gold: Labels, measure: Callable[[Labels, Labels], float], seed: int
) -> Floats:
    rng = np.random.default_rng([0xB007, seed])
    found = np.empty(DRAWS)
    for number in range(DRAWS):
        rows = rng.integers(0, len(gold), len(gold))
        which = rng.integers(0, len(answers), len(answers))
        found[number] = np.mean([measure(answers[s][rows], gold[rows]) for s in which])
    return found


def _interval(draws: Floats) -> Interval:
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), LEVEL)


def _measure(kind: Kind, metric: Metric) -> Callable[[Labels, Labels], float]:
    """The metric in few array operations, for a thousand draws; equal to `metrics.score`."""
    if metric == "accuracy":
        return lambda answers, gold: float((answers == gold).mean())
    if metric == "macro-F1" and kind == "classes":
        return _macro_f1
    if metric == "micro-F1":
        return _micro_f1
    return lambda answers, gold: score(answers, gold, kind=kind, metric=metric).value


def _macro_f1(answers: Labels, gold: Labels) -> float:
    size = int(max(answers.max(), gold.max())) + 1
    right = np.bincount(gold[answers == gold].astype(np.int64), minlength=size)
    there = np.bincount(gold.astype(np.int64), minlength=size)
    said = np.bincount(answers.astype(np.int64), minlength=size)
    each = 2 * right / np.maximum(there + said, 1)
    return float(each[there > 0].mean())


def _micro_f1(answers: Labels, gold: Labels) -> float:
    said, there = answers.astype(bool), gold.astype(bool)
    right, total = float((said & there).sum()), float(said.sum() + there.sum())
    return 2 * right / total if total else 0.0

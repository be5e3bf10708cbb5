"""The right metric for each kind of label: answers and gold in, one named score (higher is better)
out.

Classes: accuracy, or macro-F1 where the classes are strongly unbalanced, since always naming the
biggest class would look good on accuracy. Several labels a row: micro-F1. Numbers: Spearman.
Texts that were written are measured in `wording`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, r2_score

from headstart.data.labels import Kind

Floats = npt.NDArray[np.float64]
Metric = Literal["accuracy", "macro-F1", "micro-F1", "Spearman", "R2", "MAE"]

METRICS: dict[Kind, tuple[Metric, ...]] = {
    "classes": ("accuracy", "macro-F1"),
    "multilabel": ("micro-F1", "macro-F1"),
    "number": ("Spearman", "R2", "MAE"),
}
UNBALANCED = 4.0  # biggest class over smallest class, from which macro-F1 is the default


@dataclass(frozen=True)
class Scores:
    """One result: metric, value, the F1 of every class (by name) and further metrics beside it."""

    name: str
    value: float
    per_class: dict[str, float] = field(default_factory=dict)
    others: dict[str, float] = field(default_factory=dict)


def default_metric(gold: npt.NDArray[np.generic], *, kind: Kind) -> Metric:
    """The metric that a report leads with, decided on the gold labels alone.

    gold: (N,) integers for classes, (N, C) 0/1 for multilabel, (N,) floats for number.
    """
    if kind == "multilabel":
        return "micro-F1"
    if kind == "number":
        return "Spearman"
    counts = np.unique(gold, return_counts=True)[1]
    return "macro-F1" if counts.max() >= UNBALANCED * counts.min() else "accuracy"


def score(
    answers: npt.NDArray[np.generic],
    gold: npt.NDArray[np.generic],
    *,
    kind: Kind,
    metric: Metric | None = None,
    classes: Sequence[str] = (),
) -> Scores:
    """Score answers against gold labels of the same shape.

    metric: chosen by `default_metric` when None. classes: names, in the order of the label
    numbers. Raises ValueError if shapes differ, nothing is to be scored, or the metric does not
    suit the kind.
    """
    if answers.shape != gold.shape or gold.size == 0:
        raise ValueError(
            f"answers have shape {answers.shape}, gold labels {gold.shape}: "
            "must be equal and not empty"
        )
    chosen = metric or default_metric(gold, kind=kind)
    leading = [name for name in METRICS[kind] if name != "MAE"]  # of which more is better
    if chosen not in leading:
        raise ValueError(
            f"metric is '{chosen}', but for {kind} it must be one of: {', '.join(leading)}"
        )
    values: dict[str, float] = {name: _value(name, answers, gold) for name in METRICS[kind]}
    per_class: dict[str, float] = {}
    if kind != "number" and classes:
        numbers = list(range(len(classes)))
        each = f1_score(gold, answers, labels=numbers, average=None, zero_division=0)
        per_class = {name: float(value) for name, value in zip(classes, each, strict=True)}
    others = {name: value for name, value in values.items() if name != chosen}
    return Scores(chosen, values[chosen], per_class, others)


def of_each_row(
    answers: npt.NDArray[np.generic], gold: npt.NDArray[np.generic], *, metric: Metric
) -> npt.NDArray[np.generic] | None:
    """What each test row adds to a score: (N,) values whose mean is the score, and whose variance
    over rows is that of the score over other samples of test rows, times N.

    For accuracy whether the row was answered right. For F1 and rank correlation, which are no means
    over rows, the score plus the row's influence on it, to first order. None for other metrics.
    Source: Jaeckel 1972, "The infinitesimal jackknife" (Bell Laboratories, MM 72-1215-11).
    """
    if metric == "accuracy":
        return np.asarray(answers == gold)
    if metric == "Spearman":
        return _of_ranks(answers.astype(np.float64), gold.astype(np.float64))
    if metric not in ("macro-F1", "micro-F1"):
        return None
    if gold.ndim == 1:
        names = np.unique(gold)
        there, said = gold[:, None] == names, answers[:, None] == names
    else:
        there, said = gold.astype(np.bool_), answers.astype(np.bool_)
        if metric == "macro-F1":
            there, said = there[:, gold.any(axis=0)], said[:, gold.any(axis=0)]
    right, all_ = (there & said).astype(np.float64), there.astype(np.float64) + said
    if metric == "micro-F1":
        right, all_ = right.sum(axis=1, keepdims=True), all_.sum(axis=1, keepdims=True)
    total = np.maximum(all_.sum(axis=0), 1)
    values = 2 * right.sum(axis=0) / total  # F1 of every class
    if not values.size:
        return np.zeros(len(gold))
    influence = len(gold) * (2 * right - values * all_) / total
    return np.asarray((values + influence).mean(axis=1))


def _of_ranks(first: Floats, second: Floats) -> Floats:
    """What each row adds to Spearman's correlation, as in `of_each_row`: by its own ranks, and by
    what it does to those of the others.
    """
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.zeros(len(first))
    ranks = [(stats.rankdata(side) - (len(side) + 1) / 2) / len(side) for side in (first, second)]
    names = [np.unique(side, return_inverse=True)[1] for side in (first, second)]

    def product(a: int, b: int) -> Floats:
        """Of the covariance of two sides' ranks."""
        own = ranks[a] * ranks[b]
        return np.asarray(own + _above(names[a], ranks[b]) + _above(names[b], ranks[a]))

    parts = {pair: product(*pair) for pair in ((0, 1), (0, 0), (1, 1))}
    both, one, other = (float((ranks[a] * ranks[b]).mean()) for a, b in parts)
    influence = [values - values.mean() for values in parts.values()]
    rho = both / np.sqrt(one * other)
    spread = (influence[1] / one + influence[2] / other) / 2
    return np.asarray(rho + influence[0] / np.sqrt(one * other) - rho * spread)


def _above(names: npt.NDArray[np.int64], weights: Floats) -> Floats:
    """For each row the sum of the weights of rows that stand above it, those level half, by N."""
    sums = np.bincount(names, weights)
    higher = np.cumsum(sums[::-1])[::-1] - sums / 2
    return np.asarray(higher[names] / len(names))


def _value(
    metric: Metric, answers: npt.NDArray[np.generic], gold: npt.NDArray[np.generic]
) -> float:
    match metric:
        case "accuracy":
            value = accuracy_score(gold, answers)
        case "macro-F1":
            value = _macro_f1(answers, gold)
        case "micro-F1":
            value = f1_score(gold, answers, average="micro", zero_division=0)
        case "Spearman":
            constant = np.ptp(answers) == 0 or np.ptp(gold) == 0  # orders nothing
            value = 0.0 if constant else stats.spearmanr(gold, answers).statistic
        case "R2":
            value = r2_score(gold, answers)
        case "MAE":
            value = mean_absolute_error(gold, answers)
    return float(value)


def _macro_f1(answers: npt.NDArray[np.generic], gold: npt.NDArray[np.generic]) -> float:
    """Over the classes that the gold labels have."""
    present = np.unique(gold) if gold.ndim == 1 else np.flatnonzero(gold.any(axis=0))
    if present.size == 0:
        return 0.0
    return float(f1_score(gold, answers, labels=present, average="macro", zero_division=0))

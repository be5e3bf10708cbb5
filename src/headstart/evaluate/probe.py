"""The user's own task, scored while pretraining runs.

In: a small labelled file, encoded. Out: a `train.Probe` that reads frozen features of the
half-trained network and cross-validates a linear head on fixed folds. The trainer keeps the weights
of its best score, spreads the probes so that they stay a small part of the time, and lets them read
fewer examples where that is not enough. Of a long text one window is read.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from headstart.errors import InputError
from headstart.evaluate.baselines import fit_linear
from headstart.evaluate.features import FeatureCache
from headstart.evaluate.metrics import default_metric, score
from headstart.families.model import Model
from headstart.tasks import Frame, LabelledTokens
from headstart.train import Learner, Probe

FOLDS = 5
MOST_EXAMPLES, LEAST_EXAMPLES = 1000, 50


def online_probe(
    examples: LabelledTokens, frame: Frame, *, max_length: int, seed: int = 0
) -> Probe:
    """A probe of this task. At most 1,000 examples are read, chosen once, and never fewer than 50.

    Raises InputError with fewer than ten examples.
    """
    if len(examples) < 2 * FOLDS:
        raise InputError(
            f"the probe has {len(examples)} labelled examples, but needs at least {2 * FOLDS}"
        )
    order = np.random.default_rng(seed).permutation(len(examples))
    cost = np.minimum(examples.inputs.lengths[order], max_length)

    def within(tokens: int) -> Probe:
        fit = int(np.searchsorted(np.cumsum(cost), tokens, side="right"))
        return of_size(max(LEAST_EXAMPLES, fit))

    def of_size(most: int) -> Probe:
        rows = order[:most]
        name, measure = _measure(examples.take(np.sort(rows)), frame, max_length, seed=seed)
        return Probe(name, measure, tokens=int(cost[:most].sum()), within=within)

    return of_size(MOST_EXAMPLES)


def _measure(
    examples: LabelledTokens, frame: Frame, max_length: int, *, seed: int
) -> tuple[str, Callable[[Learner, Callable[[], None]], float]]:
    metric = default_metric(examples.labels, kind=examples.kind)
    folds = _folds(examples, seed=seed)

    def measure(learner: Learner, poll: Callable[[], None]) -> float:
        assert isinstance(learner.model, Model), "the probe reads our models"
        cache = FeatureCache(learner.model, frame, max_length=max_length, max_windows=1, poll=poll)
        features = cache.of(examples.inputs).astype(np.float64)
        values = []
        for inside, outside in folds:
            poll()
            head = fit_linear(
                features[inside],
                examples.labels[inside],
                kind=examples.kind,
                seed=seed,
                centre=True,
            )
            answers = head.predict(features[outside])
            gold = examples.labels[outside]
            values.append(score(answers, gold, kind=examples.kind, metric=metric).value)
        return float(np.mean(values))

    return f"probe {metric}", measure


def _folds(examples: LabelledTokens, *, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    labels, count = examples.labels, len(examples)
    fewest = np.unique(labels, return_counts=True)[1].min() if examples.kind == "classes" else 0
    splitter: StratifiedKFold | KFold = KFold(FOLDS, shuffle=True, random_state=seed)
    if fewest >= FOLDS:
        splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(count), labels if fewest >= FOLDS else None))

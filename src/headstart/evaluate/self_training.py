"""Self-training of a probe: its surest answers on unlabelled texts become further labels.

In: features of labelled and of unlabelled texts. Out: a linear head. Classes only.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from headstart.evaluate.baselines import Features, Labels, LinearHead, fit_linear
from headstart.evaluate.deadline import Poll, never, part

SHARE = 0.3  # of the unlabelled texts of each answer, the surest, that get a pseudo-label
MOST = 10  # pseudo-labels for each true label


def self_train(
    linear: LinearHead,
    features: Features,
    labels: Labels,
    unlabelled: Features,
    *,
    rounds: int,
    seed: int,
    centre: bool = True,
    balanced: bool = False,
    poll: Poll = never,
) -> LinearHead:
    """The head after some rounds of pseudo-labels, each round's made by the head of the one before.

    features: (N, F) of the labelled texts, dense or sparse. labels: (N,) classes. unlabelled:
    (U, F). Each class gets pseudo-labels in proportion to how often it is answered, so that easy
    classes do not crowd out the others. poll: called between solutions.
    Source: Yarowsky 1995; balanced by answer as in Zou et al. 2018.
    """
    for number in range(rounds):
        chosen, answers = surest(linear, unlabelled, most=MOST * len(labels))
        if not len(chosen):
            break
        linear = fit_linear(
            _stacked(features, unlabelled[chosen]),
            np.concatenate([labels, answers]),
            kind="classes",
            seed=seed,
            centre=centre,
            balanced=balanced,
            poll=part(poll, number / rounds, 1 / rounds),
        )
    return linear


def _stacked(first: Features, second: Features) -> Features:
    if sparse.issparse(first):
        return sparse.vstack([first, second], format="csr")
    return np.concatenate([first, second]).astype(np.float64)


def surest(linear: LinearHead, unlabelled: Features, *, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers and answers of the surest rows of each answer, at most `most` in all."""
    rows = unlabelled.shape[0]
    if not rows:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    shares = linear.predict_proba(unlabelled.astype(np.float64))
    answers, sure = shares.argmax(axis=1), shares.max(axis=1)
    part = min(SHARE, most / rows)
    kept = [np.zeros(0, dtype=np.int64)]
    for name in np.unique(answers):
        mine = np.flatnonzero(answers == name)
        order = mine[np.argsort(-sure[mine], kind="stable")]
        kept.append(order[: int(np.ceil(part * len(mine)))])
    chosen = np.sort(np.concatenate(kept))
    return chosen, answers[chosen].astype(np.int64)

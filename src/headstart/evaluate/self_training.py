"""Self-training of a probe: its surest answers on unlabelled texts become further labels.

In: features of labelled and of unlabelled texts. Out: a linear head. Classes only.
"""

from __future__ import annotations

import numpy as np

from headstart.evaluate.baselines import LinearHead, fit_linear
from headstart.tasks import LabelledTokens

SHARE = 0.3  # of the unlabelled texts of each answer, the surest, that get a pseudo-label
MOST = 10  # pseudo-labels for each true label


def self_train(
    linear: LinearHead,
    features: np.ndarray,
    examples: LabelledTokens,
    unlabelled: np.ndarray,
    *,
    rounds: int,
    seed: int,
    balanced: bool,
) -> LinearHead:
    """The head after some rounds of pseudo-labels, each round's made by the head of the one before.

    features: (N, F) of the labelled texts. unlabelled: (U, F). Each class gets pseudo-labels in
    proportion to how often it is answered, so that easy classes do not crowd out the others.
    Source: Yarowsky 1995; balanced by answer as in Zou et al. 2018.
    """
    for _ in range(rounds):
        chosen, labels = surest(linear, unlabelled, most=MOST * len(examples))
        if not len(chosen):
            break
        linear = fit_linear(
            np.concatenate([features, unlabelled[chosen]]).astype(np.float64),
            np.concatenate([examples.labels, labels]),
            kind="classes",
            seed=seed,
            standardise=True,
            balanced=balanced,
        )
    return linear


def surest(
    linear: LinearHead, unlabelled: np.ndarray, *, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers and answers of the surest rows of each answer, at most `most` in all."""
    shares = linear.predict_proba(unlabelled.astype(np.float64))
    answers, sure = shares.argmax(axis=1), shares.max(axis=1)
    part = min(SHARE, most / max(1, len(unlabelled)))
    kept = [np.zeros(0, dtype=np.int64)]
    for name in np.unique(answers):
        mine = np.flatnonzero(answers == name)
        order = mine[np.argsort(-sure[mine], kind="stable")]
        kept.append(order[: int(np.ceil(part * len(mine)))])
    chosen = np.sort(np.concatenate(kept))
    return chosen, answers[chosen].astype(np.int64)

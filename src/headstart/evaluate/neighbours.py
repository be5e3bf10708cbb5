"""Nearest neighbours: the answer that most of the likest rows have; nothing is learnt.

In: features and labels of some rows. Out: answers for others. How many neighbours have a say is
chosen inside the given rows, each answered for by the others.

Legend: N rows with labels, M rows to answer for, K neighbours.
"""

from __future__ import annotations

import numpy as np

from headstart.data.labels import Kind
from headstart.evaluate.baselines import Floats, Labels
from headstart.evaluate.deadline import Poll, never, part

COUNTS = (1, 3, 5, 9, 15, 25)
MOST_TRIED = 2000  # rows that the number of neighbours is chosen by
AT_ONCE = 512


def by_neighbours(
    features: Floats, labels: Labels, others: Floats, *, kind: Kind, seed: int, poll: Poll = never
) -> tuple[Labels, int]:
    """Answers for the others (M, F), in the form of labels, and the number of neighbours used.

    features: (N, F), of the labelled rows. labels: see `baselines.fit_linear`. poll: called with
    the rows that are answered for.
    """
    inside = min(MOST_TRIED, len(labels))
    share = inside / (inside + len(others))
    count = _how_many(features, labels, kind=kind, seed=seed, poll=part(poll, 0.0, share))
    near = nearest(features, others, count=count, poll=part(poll, share, 1 - share))
    return _answers(labels, near, kind=kind), count


def nearest(features: Floats, others: Floats, *, count: int, poll: Poll = never) -> np.ndarray:
    """(M, K) numbers of the nearest rows of each of the others, the nearest first; by distance."""
    count = min(count, len(features))
    squares = (features**2).sum(1)
    found = np.empty((len(others), count), dtype=np.int64)
    for begin in range(0, len(others), AT_ONCE):
        poll(begin, len(others))
        some = others[begin : begin + AT_ONCE]
        apart = squares - 2 * some @ features.T  # the other's own square is the same for all
        chosen = np.argpartition(apart, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(apart, chosen, 1), axis=1, kind="stable")
        found[begin : begin + AT_ONCE] = np.take_along_axis(chosen, order, 1)
    return found


def _how_many(features: Floats, labels: Labels, *, kind: Kind, seed: int, poll: Poll) -> int:
    """The number with the fewest errors where each row is answered for by the others."""
    allowed = [count for count in COUNTS if count < len(labels)]
    if len(allowed) < 2:
        return 1
    tried = np.random.default_rng(seed).permutation(len(labels))[:MOST_TRIED]
    near = nearest(features, features[tried], count=allowed[-1] + 1, poll=poll)
    # a row is among its own neighbours, if not at the first place where another is its copy
    mine = near == tried[:, None]
    mine[~mine.any(1), -1] = True
    others = near[~mine].reshape(len(tried), -1)
    gold = labels[tried].astype(np.float64)
    errors = []
    for count in allowed:
        found = _answers(labels, others[:, :count], kind=kind).astype(np.float64)
        wrong = (found - gold) ** 2 if kind == "number" else found != gold
        errors.append(float(np.mean(wrong)))
    return allowed[int(np.argmin(errors))]


def _answers(labels: Labels, near: np.ndarray, *, kind: Kind) -> Labels:
    """What the neighbours (M, K) say; the nearer ones decide between equal votes."""
    if kind == "number":
        return np.asarray(labels[near].astype(np.float64).mean(1))
    weight = 1 + 1e-3 / np.arange(1, near.shape[1] + 1)
    if kind == "multilabel":
        share = (labels[near] * weight[:, None]).sum(1) / weight.sum()
        return np.asarray(share > 0.5).astype(np.int64)
    names, place = np.unique(labels, return_inverse=True)
    votes = np.zeros((len(near), len(names)))
    rows = np.arange(len(near))
    for column in range(near.shape[1]):
        votes[rows, place[near[:, column]]] += weight[column]
    return np.asarray(names[votes.argmax(1)])

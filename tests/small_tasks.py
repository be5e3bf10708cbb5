"""Tiny models and labelled texts of token ids, whose classes show in which tokens are frequent."""

from __future__ import annotations

import numpy as np

from headstart.batch import Sequences
from headstart.evaluate.fitted import Start
from headstart.families import find
from headstart.objectives import Vocabulary
from headstart.tasks import LabelledTokens

VOCAB = 40


def vocabulary(size: int = VOCAB) -> Vocabulary:
    return Vocabulary(size, 0, 2, 3, 4, (0, 1, 2, 3, 4), np.ones(size, dtype=bool))


def small_start(family: str = "modern", *, layers: int = 2, seed: int = 0) -> Start:
    model = find(family).build(
        num_layers=layers,
        hidden_size=16,
        num_heads=2,
        vocab_size=VOCAB,
        max_positions=48,
        seed=seed,
    )
    return Start(model.eval(), vocabulary())


def labelled(
    count: int, *, classes: int = 3, longest: int = 24, signal: float = 0.5, seed: int = 0
) -> LabelledTokens:
    """Texts in which a share of the tokens are three that belong to the text's class."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    texts = []
    for name in labels:
        text = rng.integers(5, VOCAB, int(rng.integers(4, longest + 1)))
        shown = rng.random(len(text)) < signal
        text[shown] = 5 + 3 * name + rng.integers(0, 3, int(shown.sum()))
        texts.append(text)
    names = tuple("abcdefgh"[:classes])
    return LabelledTokens(as_sequences(texts), labels.astype(np.int64), "classes", names)


def several_labels(count: int, *, seed: int = 0) -> LabelledTokens:
    """Each of three labels is there if its tokens are."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, 3)) < 0.5).astype(np.float32)
    texts = []
    for row in labels:
        text = rng.integers(14, VOCAB, 20)
        for name in np.flatnonzero(row):
            text[rng.choice(20, 5, replace=False)] = 5 + 3 * name + rng.integers(0, 3)
        texts.append(text)
    return LabelledTokens(as_sequences(texts), labels, "multilabel", ("a", "b", "c"))


def numbers(count: int, *, seed: int = 0) -> LabelledTokens:
    """The share of one token, in odd units: 100 + 50 * share."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(count):
        share = rng.random()
        text = rng.integers(10, VOCAB, 20)
        text[rng.random(20) < share] = 5
        texts.append(text)
        labels.append(100 + 50 * (text == 5).mean())
    return LabelledTokens(as_sequences(texts), np.asarray(labels, dtype=np.float32), "number")


def as_sequences(texts: list[np.ndarray]) -> Sequences:
    lengths = np.asarray([len(text) for text in texts], dtype=np.int64)
    return Sequences(np.concatenate(texts).astype(np.int64), lengths, np.arange(len(texts)))

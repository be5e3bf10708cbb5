"""How often the right caption is found for an image, and the right image for a caption.

In: vectors of both, and which belong together. Out: recall at k both ways, with 95 % intervals and
what chance would give. An image may have several captions, and several images the same words: any
of them counts as found. Equal scores count against us, so vectors that are all alike find nothing.

Legend: N images, M texts, P pairs that belong together, Q queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

AT = (1, 5, 10)
DRAWS = 1000
LEVEL = 0.95
SCORES_AT_ONCE = 20_000_000


@dataclass(frozen=True, eq=False)
class Gold:
    """Which of N images and M texts belong together.

    texts: each wording once. image, text: (P,) numbers of each pair.
    """

    images: int
    texts: tuple[str, ...]
    image: np.ndarray
    text: np.ndarray

    @classmethod
    def of(cls, captions: Sequence[Sequence[str]]) -> Gold:
        """From the captions of each image."""
        known: dict[str, int] = {}
        pairs = sorted(
            {(n, known.setdefault(c, len(known))) for n, each in enumerate(captions) for c in each}
        )
        image, text = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
        return cls(len(captions), tuple(known), image, text)


@dataclass(frozen=True)
class Recall:
    """Share of the queries whose answer is among the first `at`; chance: of a random order."""

    at: int
    value: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True)
class Retrieval:
    """Recall both ways. images, texts: how many there were to find."""

    images: int
    texts: int
    to_text: tuple[Recall, ...]
    to_image: tuple[Recall, ...]


def retrieval(
    images: np.ndarray, texts: np.ndarray, gold: Gold, *, at: Sequence[int] = AT, seed: int = 0
) -> Retrieval:
    """Recall both ways, by the largest product of vectors.

    images: (N, C); texts: (M, C), in the order of `gold.texts`.
    """
    find_text = ranks(images, texts, gold.image, gold.text)
    find_image = ranks(texts, images, gold.text, gold.image)
    # captions of one image are alike, so they are drawn together: by their first image
    owner = np.zeros(len(texts), dtype=np.int64)
    owner[gold.text[::-1]] = gold.image[::-1]
    own = np.arange(len(images))
    return Retrieval(
        len(images),
        len(texts),
        _recalls(find_text, own, len(texts), np.bincount(gold.image), at, seed),
        _recalls(find_image, owner, len(images), np.bincount(gold.text), at, seed),
    )


def ranks(
    queries: np.ndarray, candidates: np.ndarray, query_of: np.ndarray, candidate_of: np.ndarray
) -> np.ndarray:
    """(Q,) how many wrong candidates score at least as high as the best right one.

    query_of, candidate_of: (P,) the pairs that belong together; every query is in one.
    """
    found = np.empty(len(queries), dtype=np.int64)
    block = max(1, SCORES_AT_ONCE // max(1, len(candidates)))
    for begin in range(0, len(queries), block):
        scores = queries[begin : begin + block] @ candidates.T
        mine = (query_of >= begin) & (query_of < begin + len(scores))
        right = np.zeros(scores.shape, dtype=bool)
        right[query_of[mine] - begin, candidate_of[mine]] = True
        best = np.where(right, scores, -np.inf).max(1, keepdims=True)
        found[begin : begin + len(scores)] = ((scores >= best) & ~right).sum(1)
    return found


def _recalls(
    found: np.ndarray,
    owner: np.ndarray,
    candidates: int,
    right: np.ndarray,
    at: Sequence[int],
    seed: int,
) -> tuple[Recall, ...]:
    hits = found[None, :] < np.asarray(at)[:, None]  # K Q
    low, high = _intervals(hits, owner, seed)
    values = zip(at, hits.mean(1).tolist(), low, high, strict=True)
    return tuple(
        Recall(k, value, least, most, float(chance(right, candidates, k).mean()))
        for k, value, least, most in values
    )


def chance(right: np.ndarray, candidates: int, k: int) -> np.ndarray:
    """(Q,) probability that one of `right` (Q,) answers is among the first k in a random order."""
    places = np.arange(min(k, candidates))
    wrong = np.clip(candidates - right[:, None] - places, 0, None)
    missed: np.ndarray = (wrong / (candidates - places)).prod(1)
    return 1 - missed


def _intervals(hits: np.ndarray, owner: np.ndarray, seed: int) -> tuple[list[float], list[float]]:
    """Of the means of hits (K, Q), drawing the owners (Q,) of queries again with replacement."""
    owners = np.unique(owner, return_inverse=True)[1]
    count = int(owners.max()) + 1
    won = np.stack([np.bincount(owners, row, minlength=count) for row in hits])
    total = np.bincount(owners)
    rng = np.random.default_rng([0xB007, seed])
    means = np.empty((DRAWS, len(hits)))
    for draw in range(DRAWS):
        times = np.bincount(rng.integers(0, count, count), minlength=count)
        means[draw] = won @ times / (total @ times)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low.tolist(), high.tolist()

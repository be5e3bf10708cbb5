"""Test texts that stand in the corpus or the training file: found, counted, and named for removal.

In: the corpus as a stream, test and training texts. Out: a `LeakReport`.
Four kinds, each text counted as the first that fits: "exact" (same characters), "normalised" (same
after NFKC, case, punctuation, white space, invisible and look-alike characters are folded), "near"
(at least 0.8 of the tokens shared), "contained" (the whole test text inside a longer one).
The surprise: near duplicates are not estimated. Two sets that share 0.8 of their tokens must share
three among the rarest fifth (and two more) of each, so only those few are looked up, and every
candidate is compared in full: none above the threshold is missed (prefix filtering, Bayardo et al.
2007 and Wang et al. 2012).

A token is a word, or one CJK character.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from headstart.data.corpus import Corpus
from headstart.data.record import shown

LeakKind = Literal["exact", "normalised", "near", "contained"]
KINDS: tuple[LeakKind, ...] = ("exact", "normalised", "near", "contained")

THRESHOLD = 0.8  # Jaccard similarity of the token sets
SAME_ORDER = 0.4  # Jaccard similarity of the sets of neighbouring tokens
SHARED_RARE = 3  # rare tokens two near duplicates must share
SHORTEST_NEAR = 5  # different tokens; shorter texts are compared whole only
SHORTEST_CONTAINED = 8
MOST_EXAMPLES = 10
PROGRESS_EVERY = 1000

_CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_TOKEN = re.compile(f"[{_CJK}]|[^\\W_{_CJK}]+")
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]+"
)
_FOLD = str.maketrans("аеорсухіѕјԁѵοαν", "aeopcyxisjdvoav")
_PRIMES = np.asarray(
    [1000003, 998244353, 1000000007, 754974721, 167772161, 469762049, 104857601, 999999937],
    dtype=np.uint64,
)


@dataclass(frozen=True)
class Leak:
    """One text that stands in the test file: its number, the test row, and how alike they are."""

    number: int
    row: int
    kind: LeakKind
    similarity: float
    text: str


@dataclass(frozen=True)
class LeakReport:
    """What was found.

    corpus, train: how many of their texts are in the test file, by kind.
    drop: numbers of corpus documents to leave out (`Corpus.without`).
    train_drop: numbers (from 0) of training rows that are in the test file.
    test_rows: numbers of test rows that were found anywhere.
    train_in_corpus: training rows that stand in the corpus (exact or normalised): no leak.
    repeated_in_test: test rows that repeat an earlier test row.
    examples: a few of each, corpus first.
    """

    documents: int
    corpus: dict[LeakKind, int]
    train: dict[LeakKind, int]
    drop: frozenset[int]
    train_drop: frozenset[int]
    test_rows: frozenset[int]
    train_in_corpus: int
    repeated_in_test: int
    examples: tuple[Leak, ...] = ()

    def __str__(self) -> str:
        parts = [
            f"{sum(found.values())} {what} in the test file ({_by_kind(found)})"
            for what, found in (("corpus documents", self.corpus), ("training rows", self.train))
            if found
        ]
        if not parts:
            return "no test text is in the corpus or the training file"
        return "; ".join(parts)


def find_leaks(
    corpus: Corpus | Iterable[str] | None = None,
    *,
    test: Sequence[str],
    train: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> LeakReport:
    """Compare every corpus document and training row with all test texts, in one pass each.

    progress: called with the number of corpus documents done, every thousand.
    """
    index = _Index(test)
    train_words = [_tokens(text) for text in train]
    train_rows = [
        leak
        for number, (text, words) in enumerate(zip(train, train_words, strict=True))
        if (leak := index.look_up(number, text, words)) is not None
    ]
    sought = {hash(tuple(words)) for words in train_words}
    seen: set[int] = set()
    found: list[Leak] = []
    documents = 0
    for number, text in _numbered(corpus):
        documents += 1
        words = _tokens(text)
        leak = index.look_up(number, text, words)
        if leak is not None:
            found.append(leak)
        if (key := hash(tuple(words))) in sought:
            seen.add(key)
        if progress is not None and documents % PROGRESS_EVERY == 0:
            progress(documents)
    return LeakReport(
        documents,
        _counts(found),
        _counts(train_rows),
        frozenset(leak.number for leak in found),
        frozenset(leak.number for leak in train_rows),
        frozenset(leak.row for leak in (*found, *train_rows)),
        sum(hash(tuple(words)) in seen for words in train_words),
        index.repeated,
        (*found[:MOST_EXAMPLES], *train_rows[:MOST_EXAMPLES]),
    )


def _numbered(corpus: Corpus | Iterable[str] | None) -> Iterator[tuple[int, str]]:
    if corpus is None:
        return
    if isinstance(corpus, Corpus):
        for number, document in corpus.numbered():
            if number not in corpus.dropped:
                yield number, document.text
    else:
        yield from enumerate(corpus)


def _counts(leaks: Sequence[Leak]) -> dict[LeakKind, int]:
    counted = Counter(leak.kind for leak in leaks)
    return {kind: counted[kind] for kind in KINDS if counted[kind]}


def _by_kind(found: dict[LeakKind, int]) -> str:
    return ", ".join(f"{times} {kind}" for kind, times in found.items())


def _tokens(text: str) -> list[str]:
    """What is said, less everything a copy may change: words, and CJK characters one by one.

    Folded away are compatibility forms (NFKC), case, look-alike letters, invisible characters,
    white space and punctuation.
    """
    if text.isascii():
        return _TOKEN.findall(text.lower())
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_FOLD)
    return _TOKEN.findall(_INVISIBLE.sub("", plain))


@dataclass
class _Entry:
    """A test text ready for comparison: rare tokens have low ranks."""

    row: int
    ranks: frozenset[int]
    pairs: frozenset[tuple[int, int]]
    sequence: list[int]


@dataclass
class _Index:
    """The test texts, indexed for lookups."""

    test: Sequence[str]
    repeated: int = 0
    _exact: dict[str, int] = field(default_factory=dict)
    _folded: dict[tuple[str, ...], int] = field(default_factory=dict)
    _ranks: dict[str, int] = field(default_factory=dict)
    _entries: list[_Entry] = field(default_factory=list)
    _postings: dict[int, np.ndarray] = field(default_factory=dict)
    _anchors: dict[int, list[int]] = field(default_factory=dict)
    _anchor_hashes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))

    def __post_init__(self) -> None:
        tokens = [_tokens(text) for text in self.test]
        for row, (text, words) in enumerate(zip(self.test, tokens, strict=True)):
            self._exact.setdefault(text, row)
            if words and self._folded.setdefault(tuple(words), row) != row:
                self.repeated += 1
        counts = Counter(word for words in tokens for word in set(words))
        rarest_first = sorted(counts, key=lambda word: (counts[word], word))
        self._ranks = {word: rank for rank, word in enumerate(rarest_first)}
        postings: dict[int, list[int]] = {}
        for row, words in enumerate(tokens):
            if words and self._folded[tuple(words)] == row:
                self._add(row, [self._ranks[word] for word in words], postings)
        self._postings = {rank: np.asarray(found) for rank, found in postings.items()}
        self._anchor_hashes = np.sort(np.fromiter(self._anchors, np.uint64, len(self._anchors)))

    def _add(self, row: int, sequence: list[int], postings: dict[int, list[int]]) -> None:
        ranks = frozenset(sequence)
        number = len(self._entries)
        pairs = frozenset(pairwise(sequence))
        self._entries.append(_Entry(row, ranks, pairs, sequence))
        if len(ranks) >= SHORTEST_NEAR:
            for rank in sorted(ranks)[: _prefix(len(ranks))]:
                postings.setdefault(rank, []).append(number)
        if len(sequence) >= SHORTEST_CONTAINED:
            anchor = _window_hashes(np.asarray(sequence))[0]
            self._anchors.setdefault(int(anchor), []).append(number)

    def look_up(self, number: int, text: str, words: list[str]) -> Leak | None:
        """How this text, cut into these tokens, stands in the test file, if it does."""
        row = self._exact.get(text)
        if row is not None:
            return Leak(number, row, "exact", 1.0, shown(text))
        row = self._folded.get(tuple(words)) if words else None
        if row is not None:
            return Leak(number, row, "normalised", 1.0, shown(text))
        sequence = [self._ranks.get(word, -1) for word in words]
        known = {rank for rank in sequence if rank >= 0}
        unknown = len(set(words)) - len(known)
        return self._near(number, text, sequence, known, unknown) or self._contained(
            number, text, sequence
        )

    def _near(
        self, number: int, text: str, sequence: list[int], known: set[int], unknown: int
    ) -> Leak | None:
        size = len(known) + unknown
        probes = _prefix(size) - unknown  # words the test file lacks are the rarest of all
        if size < SHORTEST_NEAR or probes < SHARED_RARE:
            return None
        found = [self._postings[r] for r in sorted(known)[:probes] if r in self._postings]
        if not found:
            return None
        times = np.bincount(np.concatenate(found))
        pairs: set[tuple[int, int]] | None = None
        for candidate in np.flatnonzero(times >= SHARED_RARE).tolist():
            entry = self._entries[candidate]
            similarity = _jaccard(len(known & entry.ranks), size, len(entry.ranks))
            if similarity < THRESHOLD:
                continue
            pairs = pairs or set(pairwise(sequence))
            if _jaccard(len(pairs & entry.pairs), len(pairs), len(entry.pairs)) >= SAME_ORDER:
                return Leak(number, entry.row, "near", similarity, shown(text))
        return None

    def _contained(self, number: int, text: str, sequence: list[int]) -> Leak | None:
        if len(sequence) <= SHORTEST_CONTAINED or not len(self._anchor_hashes):
            return None
        hashes = _window_hashes(np.asarray(sequence))
        at = np.searchsorted(self._anchor_hashes, hashes)
        at[at == len(self._anchor_hashes)] = 0
        for place in np.flatnonzero(self._anchor_hashes[at] == hashes).tolist():
            for candidate in self._anchors[int(hashes[place])]:
                entry = self._entries[candidate]
                if sequence[place : place + len(entry.sequence)] == entry.sequence:
                    share = len(entry.sequence) / len(sequence)
                    return Leak(number, entry.row, "contained", share, shown(text))
        return None


def _prefix(size: int) -> int:
    """So many of the rarest tokens of each hold SHARED_RARE common ones of two similar sets."""
    return size - int(np.ceil(THRESHOLD * size - 1e-9)) + SHARED_RARE


def _jaccard(shared: int, one: int, other: int) -> float:
    return shared / max(1, one + other - shared)


def _window_hashes(sequence: np.ndarray) -> np.ndarray:
    """A hash of every SHORTEST_CONTAINED consecutive ranks, modulo 2^64."""
    ranks = (sequence + 2).astype(np.uint64)
    windows = len(ranks) - SHORTEST_CONTAINED + 1
    hashes = np.zeros(windows, dtype=np.uint64)
    for place, prime in enumerate(_PRIMES):
        hashes = (hashes + ranks[place : place + windows]) * prime
        hashes ^= hashes >> np.uint64(29)
    return hashes

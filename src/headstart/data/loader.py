"""Which sequences a step sees: batch n is a pure function of (source, seed, n), nothing is saved.

In: token ids with document boundaries (a `TokenStore`, or anything alike). Out: `Sequences`.
Special tokens, masking and padding come later. The surprise: there is no iterator and no state;
resuming at step n is calling `batch(n)`.

Legend: D documents, N windows.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np

from headstart.batch import Sequences, ragged_index

SHORTEST_PIECE = 4  # tokens: shorter documents are not cut for the sake of having more windows


class Documents(Protocol):
    """Token ids of documents, one after another."""

    @property
    def tokens(self) -> np.ndarray:
        """(sum of lengths,) ids."""
        ...

    @property
    def offsets(self) -> np.ndarray:
        """(D + 1,) where each document begins, and the end."""
        ...


class Source(Protocol):
    """Numbered sequences: `Windows`, or `Sequences` held in memory."""

    @property
    def lengths(self) -> np.ndarray:
        """(N,) tokens of each sequence."""
        ...

    def take(self, chosen: np.ndarray) -> Sequences:
        """The chosen sequences, in the order given."""
        ...


class Windows:
    """Documents cut into windows of at most `length` tokens.

    A document is cut into as few windows as possible, of lengths that differ by at most one: no
    token is lost and there is no runt at the end. Documents with fewer than `shortest` tokens give
    no window; they are counted in `dropped`. Every document gives at least `pieces` windows, as far
    as each can have four tokens.

    document: (N,) which document each window comes from.
    order: (N,) its place among the windows of that document: 0, 1, ...
    following: (N,) the number of the next window of the same document, -1 for the last one.
    lengths, starts: (N,) tokens of the window, and where in the token file it begins.
    """

    def __init__(
        self, documents: Documents | Sequences, *, length: int, shortest: int = 2, pieces: int = 1
    ) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1, but is {length}")
        self.tokens = documents.tokens
        self.length = length
        if isinstance(documents, Sequences):
            offsets = np.append(0, np.cumsum(documents.lengths)).astype(np.int64)
        else:
            offsets = np.asarray(documents.offsets, dtype=np.int64)
        sizes = np.diff(offsets)
        kept = np.flatnonzero(sizes >= max(1, shortest))
        self.dropped = len(sizes) - len(kept)
        sizes = sizes[kept]
        least = np.minimum(pieces, np.maximum(1, sizes // SHORTEST_PIECE))
        number = np.maximum(-(-sizes // length), least)
        self.document = np.repeat(kept, number)
        self.order = ragged_index(np.zeros(len(kept), np.int64), number)
        whole, parts = np.repeat(sizes, number), np.repeat(number, number)
        begin = self.order * whole // parts
        self.lengths = (self.order + 1) * whole // parts - begin
        self.starts = np.repeat(offsets[kept], number) + begin

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def following(self) -> np.ndarray:
        """(N,) the next window of the same document, -1 for the last one."""
        number = np.arange(1, len(self) + 1)
        last = np.append(self.document[1:] != self.document[:-1], True)[: len(self)]
        return np.where(last, -1, number)

    def take(self, chosen: np.ndarray) -> Sequences:
        """The chosen windows as int64 ids.

        Fields "document" and "order" say where they lie, "next" which token follows in the
        document: -1 after its last window.
        """
        chosen = np.asarray(chosen, dtype=np.int64)
        lengths, ends = self.lengths[chosen], (self.starts + self.lengths)[chosen]
        tokens = self.tokens[ragged_index(self.starts[chosen], lengths)].astype(np.int64)
        last = self.following[chosen] < 0
        after = np.where(last, -1, self.tokens[np.where(last, 0, ends)].astype(np.int64))
        fields = {"document": self.document[chosen], "order": self.order[chosen], "next": after}
        return Sequences(tokens, lengths, chosen, fields)


class Stretches:
    """Windows that travel together: up to `most` neighbours of one document count as one sequence.

    For objectives that need several windows of a document in the same batch.

    lengths: (N,) tokens of each stretch.
    """

    def __init__(self, windows: Windows, *, most: int = 8) -> None:
        self.windows = windows
        begins = np.flatnonzero(windows.order % most == 0)
        self._begin = begins
        self._count = np.diff(np.append(begins, len(windows)))
        self.lengths = (
            np.add.reduceat(windows.lengths, begins) if len(begins) else np.zeros(0, np.int64)
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, chosen: np.ndarray) -> Sequences:
        """All windows of the chosen stretches, in the order given."""
        chosen = np.asarray(chosen, dtype=np.int64)
        return self.windows.take(ragged_index(self._begin[chosen], self._count[chosen]))


class Chosen:
    """Some of a source's sequences, under numbers of their own.

    lengths: (N,) tokens of each.
    """

    def __init__(self, source: Source, numbers: np.ndarray) -> None:
        self.source, self.numbers = source, np.asarray(numbers, dtype=np.int64)
        self.lengths = source.lengths[self.numbers]

    def take(self, chosen: np.ndarray) -> Sequences:
        """The chosen ones, in the order given."""
        return self.source.take(self.numbers[np.asarray(chosen, dtype=np.int64)])


class TokenBatches:
    """Batches of about `tokens_per_batch` tokens, each a pure function of (seed, n).

    An epoch is a keyed permutation of all sequences, laid end to end and cut into
    `batches_per_epoch` equal stretches; a sequence belongs to the stretch in which it begins. Every
    epoch has the same number of batches, each with at least one sequence, and on average at most
    `tokens_per_batch` tokens unless a single sequence is longer than that.

    Raises ValueError when the source is empty or a number is out of range.
    """

    def __init__(self, source: Source, *, tokens_per_batch: int, seed: int) -> None:
        self.source = source
        self.seed = seed
        self._lengths = np.asarray(source.lengths, dtype=np.int64)
        self._total = int(self._lengths.sum())
        if self._total < 1:
            raise ValueError("there is nothing to make batches of: the source has no tokens")
        if tokens_per_batch < 1 or seed < 0:
            raise ValueError(
                f"tokens_per_batch must be at least 1 and seed at least 0, "
                f"but they are {tokens_per_batch} and {seed}"
            )
        wanted = -(-self._total // tokens_per_batch)
        self.batches_per_epoch = max(1, min(wanted, self._total // int(self._lengths.max())))
        self._cached: tuple[int, np.ndarray, np.ndarray] | None = None

    def batch(self, n: int) -> Sequences:
        """Batch number n, counted from 0 through all epochs."""
        return self.source.take(self.members(n))

    def members(self, n: int) -> np.ndarray:
        """Numbers of the sequences in batch n, in the order of the epoch's permutation."""
        if n < 0:
            raise ValueError(f"batch numbers begin at 0, but {n} was asked for")
        epoch, number = divmod(n, self.batches_per_epoch)
        order, batch_of = self._epoch(epoch)
        begin, end = np.searchsorted(batch_of, [number, number + 1])
        return order[begin:end]

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The epoch's permutation, and the batch of each place in it (kept for the next call)."""
        known = self._cached  # read once: another thread may ask for another epoch meanwhile
        if known is None or known[0] != epoch:
            order = permutation(len(self._lengths), self.seed, epoch)
            lengths = self._lengths[order]
            before = np.cumsum(lengths) - lengths
            known = (epoch, order, before * self.batches_per_epoch // self._total)
            self._cached = known
        return known[1], known[2]


def permutation(size: int, *key: int) -> np.ndarray:
    """A permutation of 0 .. size-1 that depends on the key alone.

    It sorts raw Philox output, which numpy keeps the same between versions (it does not promise
    that for `Generator.permutation`).
    """
    draws = np.random.Philox(np.random.SeedSequence(key)).random_raw(size)
    return np.argsort(draws, kind="stable")

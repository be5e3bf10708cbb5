"""Batches by position: the same position gives the same batch, whoever asks and however often.

In: a source, an objective and a seed. Out: prepared micro-batches. All randomness of a micro-batch
(masks, dropout) comes from generators keyed by (seed, position, micro), so the saved position of a
run is one number. On a GPU the next micro-batch is prepared in a thread while this one computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from headstart.batch import Batch
from headstart.train.learner import Source, Trainable
from headstart.train.schedule import step_progress

_MASKS, _DROPOUT = 1, 2


@dataclass(frozen=True)
class Micro:
    """One micro-batch, and which samples it came from.

    index: (S,) the samples' numbers. tokens: tokens of the sequences as the source gave them.
    """

    batch: Batch
    index: np.ndarray
    tokens: int


def mask_rng(seed: int, position: int, micro: int) -> np.random.Generator:
    """The generator for preparing one micro-batch."""
    return np.random.default_rng([_MASKS, seed, position, micro])


def dropout_seed(seed: int, position: int, micro: int) -> int:
    """The seed of torch's generators during one micro-batch."""
    words = np.random.SeedSequence([_DROPOUT, seed, position, micro]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


class Feeder:
    """Prepares the micro-batches of a position.

    total: steps of the run, for objectives that change on the way; 0 while it is not known.
    """

    def __init__(
        self, source: Source, objective: Trainable, *, seed: int, accumulate: int, ahead: bool
    ):
        self.source, self.objective = source, objective
        self.seed, self.accumulate = seed, accumulate
        self.total = 0
        self._pool = ThreadPoolExecutor(1, "headstart-feed") if ahead else None
        self._next: tuple[tuple[int, int, int], Future[Micro]] | None = None

    def micros(self, position: int) -> Iterator[Micro]:
        """The micro-batches of one position, in order."""
        for micro in range(self.accumulate):
            following = divmod(position * self.accumulate + micro + 1, self.accumulate)
            yield self._get(position, micro, following)

    def prepare(self, position: int, micro: int) -> Micro:
        """One micro-batch: a pure function of the arguments and of `total`."""
        sequences = self.source.batch(position * self.accumulate + micro)
        progress = min(1.0, step_progress(position, self.total)) if self.total else 0.0
        rng = mask_rng(self.seed, position, micro)
        batch = self.objective.prepare(sequences, rng, progress)
        return Micro(batch, sequences.index, int(sequences.lengths.sum()))

    def close(self) -> None:
        """End the thread."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool, self._next = None, None

    def _get(self, position: int, micro: int, following: tuple[int, int]) -> Micro:
        if self._pool is None:
            return self.prepare(position, micro)
        waiting, self._next = self._next, None
        if waiting is not None and waiting[0] == (position, micro, self.total):
            found = waiting[1].result()
        else:
            found = self.prepare(position, micro)
        self._next = ((*following, self.total), self._pool.submit(self.prepare, *following))
        return found


def reseed(seed: int, position: int, micro: int) -> None:
    """Set torch's generators, from which dropout draws, for one micro-batch."""
    torch.manual_seed(dropout_seed(seed, position, micro))

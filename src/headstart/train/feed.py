"""Batches by position: the same position gives the same batch, whoever asks and however often.

In: a source, an objective and a seed. Out: prepared micro-batches. All randomness of a micro-batch
(masks, dropout) comes from generators keyed by (seed, position, micro), so the saved position of a
run is one number. For a GPU the next micro-batches are prepared in threads while this one computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from headstart.batch import Batch
from headstart.train.learner import Source, Trainable
from headstart.train.precision import Precision
from headstart.train.schedule import step_progress

_MASKS, _DROPOUT = 1, 2
MOST_AHEAD = 16  # micro-batches held in memory


@dataclass(frozen=True)
class Micro:
    """One micro-batch, and which samples it came from.

    index: (S,) the samples' numbers. tokens: tokens of the sequences as the source gave them.
    """

    batch: Batch
    index: np.ndarray
    tokens: int


def micros_ahead(precision: Precision) -> int:
    """How many micro-batches to prepare ahead: for a GPU one a thread, one core being left."""
    if precision.device.type != "cuda":
        return 0
    return min(MOST_AHEAD, max(1, precision.threads - 1))


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
    ahead: how many micro-batches are prepared before they are asked for, each in a thread; 0: none.
    device: where they will be used; for a GPU they wait in memory that is pinned for it.
    """

    def __init__(
        self,
        source: Source,
        objective: Trainable,
        *,
        seed: int,
        accumulate: int,
        ahead: int,
        device: torch.device,
    ):
        self.source, self.objective = source, objective
        self.seed, self.accumulate = seed, accumulate
        self.total = 0
        self.ahead, self.device = ahead, device
        self._pool = ThreadPoolExecutor(ahead, "headstart-feed") if ahead else None
        # otherwise the threads wait for each other's matrix products
        self._limits = threadpool_limits(1, "blas") if ahead else None
        self._waiting: dict[int, Future[Micro]] = {}
        self._known_total = 0  # with which those that wait were prepared

    def micros(self, position: int) -> Iterator[Micro]:
        """The micro-batches of one position, in order."""
        for micro in range(self.accumulate):
            yield self._get(position * self.accumulate + micro)

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
        if self._limits is not None:
            self._limits.restore_original_limits()
        self._pool, self._limits, self._waiting = None, None, {}

    def _get(self, number: int) -> Micro:
        """Micro-batch of this number, counted through all positions."""
        if self._pool is None:
            return self.prepare(*divmod(number, self.accumulate))
        if self.total != self._known_total:
            self._waiting, self._known_total = {}, self.total
        wanted = range(number, number + self.ahead + 1)
        waiting = {n: self._waiting.get(n) or self._pool.submit(self._pinned, n) for n in wanted}
        found = waiting.pop(number)
        self._waiting = waiting
        return found.result()

    def _pinned(self, number: int) -> Micro:
        made = self.prepare(*divmod(number, self.accumulate))
        if self.device.type != "cuda":
            return made
        with torch.cuda.device(self.device):  # a thread would pin for the first GPU
            return replace(made, batch=made.batch.pinned())


def reseed(seed: int, position: int, micro: int) -> None:
    """Set torch's generators, from which dropout draws, for one micro-batch."""
    torch.manual_seed(dropout_seed(seed, position, micro))

"""What flows through the house: sequences of token ids, and batches of tensors with their layout.

`Sequences` (numpy) is what data gives: ragged token ids and per-sequence fields. `Batch` (torch) is
what a model takes. `Layout` alone says what is padding and what is packed.

Legend: T tokens in the flat stream (padding included), S sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor
    from torch.types import Device


@dataclass(frozen=True)
class Sequences:
    """Ragged sequences of token ids, one after another in a flat array.

    tokens: (sum of lengths,) integer ids, special tokens included where the source adds them.
    lengths: (S,) number of tokens of each sequence.
    index: (S,) the sample number of each sequence in its source; seeds and reports refer to it.
    fields: further arrays whose first axis is S (labels), keyed by name.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    index: np.ndarray
    fields: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def starts(self) -> np.ndarray:
        """(S,) offset of the first token of each sequence in `tokens`."""
        starts: np.ndarray = np.cumsum(self.lengths) - self.lengths
        return starts

    def take(self, chosen: np.ndarray) -> Sequences:
        """The chosen sequences, in the order given."""
        lengths = self.lengths[chosen]
        return Sequences(
            self.tokens[ragged_index(self.starts[chosen], lengths)],
            lengths,
            self.index[chosen],
            {name: values[chosen] for name, values in self.fields.items()},
        )


def ragged_index(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Indices start, start+1, ... of every run, one run after another: (sum of lengths,)."""
    total = int(lengths.sum())
    ends = np.cumsum(lengths)
    index: np.ndarray = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return index


def even_size(size: int) -> int:
    """The next of few sizes, 16 an octave; those up to 32 are left as they are.

    Libraries prepare a matrix product anew for every size that they have not met, which costs more
    than the product itself. A batch that is filled up to one of few sizes meets them again.
    """
    return -(-size // (step := 1 << max(0, size.bit_length() - 5))) * step


@dataclass(frozen=True)
class Runs:
    """A stream as runs of tokens that see only each other: each sequence, and padding by rows.

    ends: (N + 1,) int32, where each run begins and, at last, the length of the stream.
    longest: tokens of the longest run.
    """

    ends: Tensor
    longest: int


@dataclass(frozen=True)
class Layout:
    """Where each token of a flat stream belongs.

    The stream is blocks of equal-width rows laid one after another, so that a block viewed as
    (rows, width) needs no copy. A row holds one sequence (padded) or several (packed).

    lengths: (S,) tokens of each sequence.
    positions: (T,) position of each token within its own sequence; 0 for padding.
    sequence: (T,) which sequence each token belongs to; -1 for padding.
    first: (S,) index in the stream of each sequence's first token.
    rows: ((count, width), ...) the blocks; their areas add up to T. Rows of width 1 may be filling
        at the end, see `even_size`.
    packed: whether some row holds more than one sequence.
    runs: the stream's runs, found when it goes to a GPU, whose kernels take them all at once.
    """

    lengths: Tensor
    positions: Tensor
    sequence: Tensor
    first: Tensor
    rows: tuple[tuple[int, int], ...]
    packed: bool
    runs: Runs | None = None

    @property
    def one_each(self) -> bool:
        """Whether the stream is one token of every sequence, in their order."""
        count = len(self.lengths)
        return self.rows == ((count, 1),) and self.first.tolist() == list(range(count))

    def to(self, device: Device) -> Layout:
        """The same layout on another device."""
        there = self.each(lambda tensor: _sent(tensor, device))
        if self.runs is None and there.lengths.device.type == "cuda":
            runs = self.find_runs()
            return replace(there, runs=replace(runs, ends=_sent(runs.ends, device)))
        return there

    def each(self, change: Callable[[Tensor], Tensor]) -> Layout:
        """With every tensor changed."""
        runs = self.runs
        return Layout(
            change(self.lengths),
            change(self.positions),
            change(self.sequence),
            change(self.first),
            self.rows,
            self.packed,
            None if runs is None else replace(runs, ends=change(runs.ends)),
        )

    def find_runs(self) -> Runs:
        """The runs of a stream that still lies on the CPU."""
        owner = self.sequence.numpy()
        begins = np.ones(len(owner) + 1, dtype=bool)  # the last one is the end
        begins[1:-1] = owner[1:] != owner[:-1]
        start = 0
        for count, width in self.rows:
            begins[start : start + count * width : width] = True
            start += count * width
        ends = np.flatnonzero(begins)
        longest = int(np.diff(ends).max(initial=0))
        return Runs(self.first.new_tensor(ends).int(), longest)


@dataclass
class Batch:
    """One task's tensors for one step.

    inputs: "tokens" (T,), optionally "segments" (T,), "decoder_tokens" (a stream of its own), ...
    layout: keyed like the stream it describes ("tokens", "decoder_tokens"); sequence s of one
        stream belongs to sequence s of the other.
    targets: what the objective predicts, e.g. "positions" (N,) into the stream and "labels" (N,).
    task: the objective or task that made it; its heads live in `Learner`.
    """

    inputs: dict[str, Tensor]
    layout: dict[str, Layout]
    targets: dict[str, Tensor]
    task: str = ""

    def to(self, device: Device) -> Batch:
        """The same batch on another device."""
        return self._each(lambda tensor: _sent(tensor, device), lambda layout: layout.to(device))

    def pinned(self) -> Batch:
        """The same in memory that a GPU copies from by itself, with the runs of its streams."""
        return self._each(
            _pinned, lambda layout: replace(layout, runs=layout.find_runs()).each(_pinned)
        )

    def _each(self, change: Callable[[Tensor], Tensor], lay: Callable[[Layout], Layout]) -> Batch:
        """With every tensor and every layout changed."""
        return Batch(
            {name: change(tensor) for name, tensor in self.inputs.items()},
            {name: lay(layout) for name, layout in self.layout.items()},
            {name: change(tensor) for name, tensor in self.targets.items()},
            self.task,
        )


def _sent(tensor: Tensor, device: Device) -> Tensor:
    return tensor.to(device, non_blocking=tensor.is_pinned())


def _pinned(tensor: Tensor) -> Tensor:
    return tensor.pin_memory()

"""Who may attend to whom: the only place, with positions, that reads a `Layout`.

Within a stream tokens attend along its rows (`RowMask`), or on a GPU in all its runs at once
(`RunMask`). Between two streams, and to what a cache holds, they attend sequence by sequence
(`Crossing`), whatever rows these lie in.

Legend: T stream, S sequences, R rows, W width of a row block, M tokens of the longest memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from headstart.batch import Layout, Runs


@dataclass(frozen=True)
class RowMask:
    """One block of rows of the stream and its additive attention bias.

    start: index of the block's first token. bias: (R, 1, W, W) of 0 and -inf, (R, 1, 1, W) where it
    is the same for every token of a row, or None where every token may see every other. causal: no
    bias, but only earlier tokens are seen. relative: (1, H, W, W) added besides, and learnt.
    """

    start: int
    count: int
    width: int
    bias: Tensor | None
    causal: bool
    relative: Tensor | None = None

    def whole(self) -> Tensor | None:
        """The sum of all biases, `causal` among them if there is any other."""
        if self.relative is None:
            return self.bias
        bias = self.bias
        if self.causal:
            bias = torch.full_like(self.relative[0, 0], float("-inf")).triu_(1)
        return self.relative if bias is None else self.relative + bias

    def plus(self, relative: Tensor) -> RowMask:
        """The same with a bias of distances; added here where that is not to be learnt."""
        both = replace(self, relative=relative)
        if relative.requires_grad:
            return both
        return replace(self, bias=both.whole(), causal=False)


@dataclass(frozen=True)
class RunMask:
    """Each token sees the tokens of its own run: all, or those from `before` to `after` it.

    before, after: how many tokens away; -1: all.
    """

    runs: Runs
    before: int
    after: int


Masks = tuple[RowMask, ...] | RunMask


def run_mask(layout: Layout, *, causal: bool, window: int | None) -> RunMask | None:
    """The mask of all runs at once, where the stream lies on a device that takes it so."""
    if layout.runs is None:
        return None
    reach = -1 if window is None else window // 2
    return RunMask(layout.runs, reach, 0 if causal else reach)


def row_masks(
    layout: Layout, *, causal: bool, window: int | None, dtype: torch.dtype
) -> tuple[RowMask, ...]:
    """The masks of all row blocks.

    A token sees the tokens of its own sequence: all, or the earlier ones (causal), or those at most
    `window // 2` away. No row of scores is empty: padding sees padding, or in rows of one sequence
    what that sequence sees.
    """
    masks = []
    start = 0
    for count, width in layout.rows:
        sequence = layout.sequence[start : start + count * width].view(count, width)
        plain = bool((sequence == sequence[:, :1]).all()) and (
            window is None or window // 2 >= width
        )
        bias = None
        if not plain and not layout.packed and not causal and window is None:
            bias = hiding(sequence < 0, dtype=dtype)[:, None, None]
        elif not plain:
            bias = _bias(sequence, causal=causal, window=window, dtype=dtype)
        masks.append(RowMask(start, count, width, bias, causal and plain))
        start += count * width
    return tuple(masks)


def _bias(sequence: Tensor, *, causal: bool, window: int | None, dtype: torch.dtype) -> Tensor:
    allowed = sequence[:, :, None] == sequence[:, None, :]  # R W W
    if causal or window is not None:
        here = torch.arange(sequence.shape[1], device=sequence.device)
        ahead = here[None, :] - here[:, None]  # how far the key lies after the query
        if causal:
            allowed = allowed & (ahead <= 0)
        if window is not None:
            allowed = allowed & (ahead.abs() <= window // 2)
    return hiding(~allowed, dtype=dtype)[:, None]


def hiding(hidden: Tensor, *, dtype: torch.dtype) -> Tensor:
    """A bias that is 0, and -inf where `hidden` is true."""
    bias = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
    return bias.masked_fill_(hidden, float("-inf"))


@dataclass(frozen=True)
class Crossing:
    """Some sequences of a stream, a row each, and what each of them may see elsewhere.

    queries: (R, W) slots in the stream; None where the stream is one token of each sequence, in
    order. keys: (R, M) slots in the memory's, None where they are kept elsewhere. Rows that are
    too short repeat their last slot. bias: (R, 1, 1, M) of 0 and -inf, or None where all rows are
    full.
    """

    queries: Tensor | None
    keys: Tensor | None
    bias: Tensor | None


@dataclass(frozen=True)
class Crossings:
    """All sequences of a stream in groups of similar length.

    back: (T,) where each slot's token lies in the rows of all groups, one after another; 0 for
    padding. None where the rows are the stream.
    """

    groups: tuple[Crossing, ...]
    back: Tensor | None


def crossings(
    layout: Layout, memory: Layout, *, dtype: torch.dtype, together: bool = False
) -> Crossings:
    """How each sequence finds the sequence of the same number in another stream.

    together: in one group whatever their lengths, in the order of their numbers.
    """
    count = len(layout.lengths)
    assert len(memory.lengths) == count, "both streams hold the same sequences"
    order = torch.arange(count, device=layout.lengths.device)
    ends = [count]
    if not together:
        order = torch.argsort(memory.lengths, descending=True, stable=True)
        ends = _similar(memory.lengths[order].tolist())
    base = torch.zeros_like(layout.lengths)
    groups = []
    begin = reached = 0
    for end in ends:
        some = order[begin:end]
        queries = slots(layout.first[some], layout.lengths[some])
        keys = slots(memory.first[some], memory.lengths[some])
        groups.append(Crossing(queries, keys, key_bias(memory.lengths[some], dtype=dtype)))
        width = queries.shape[1]
        base[some] = reached + width * torch.arange(len(some), device=base.device)
        begin, reached = end, reached + queries.numel()
    return Crossings(tuple(groups), back(layout, base))


def _similar(lengths: list[int]) -> list[int]:
    """Ends of groups of descending lengths in which none is less than half of the first."""
    ends, first = [], 0
    for number, length in enumerate(lengths):
        if 2 * length < lengths[first]:
            ends.append(number)
            first = number
    return [*ends, len(lengths)]


def slots(first: Tensor, lengths: Tensor) -> Tensor:
    """(S, W) slots of each sequence's tokens; shorter ones repeat their last."""
    width = int(lengths.max()) if len(lengths) else 0
    step = torch.arange(width, device=first.device)
    return first[:, None] + torch.minimum(step, lengths[:, None] - 1)


def back(layout: Layout, base: Tensor) -> Tensor:
    """(T,) where each slot's token lies, if sequence s was laid out from base[s] on."""
    owner = layout.sequence.clamp(min=0)
    step = torch.arange(len(owner), device=owner.device) - layout.first[owner]
    return (base[owner] + step).masked_fill(layout.sequence < 0, 0)


def key_bias(lengths: Tensor, *, dtype: torch.dtype) -> Tensor | None:
    """(S, 1, 1, M) that hides what lies behind each sequence's end; None if all are as long."""
    width = int(lengths.max()) if len(lengths) else 0
    if bool((lengths == width).all()):
        return None
    place = torch.arange(width, device=lengths.device)
    return hiding(place >= lengths[:, None], dtype=dtype)[:, None, None]

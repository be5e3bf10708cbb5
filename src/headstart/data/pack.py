"""Lay ragged sequences into the flat stream: packed rows of a few widths, or one sequence a row.

In: lengths (numpy). Out: a `Layout` and the stream of token ids (torch). What the tokens mean, and
which of them are targets, is not known here.
The surprise: sequence s of the input keeps number s wherever it lies in the stream, so the stream's
order is not the order of the sequences; go through `Layout.first`.

Legend: S sequences, T slots of the stream (padding included).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from headstart.batch import Layout, Sequences, even_size, ragged_index

# Cost of a block in units of one token's position-wise work: a fixed price for its attention call,
# and attention that grows with the width until it equals the rest at WIDTH_OF_EQUAL_COST.
CALL_COST = 320
WIDTH_OF_EQUAL_COST = 512
PACKED_WIDTHS = (128, 192, 256, 384, 512)
LEAST_FILLED = 256  # tokens of a stream, from which it is filled up to an even size
FINEST = 4  # widths are multiples of it where a row holds one sequence
MOST_GROUPS = 10  # one sequence a row
MOST_BLOCKS = 4  # packed


@dataclass(frozen=True)
class _Places:
    """Where each sequence lies: first slot (S,), and the blocks as (count, width)."""

    first: np.ndarray
    rows: tuple[tuple[int, int], ...]
    packed: bool


def arrange(
    lengths: np.ndarray, *, pack: bool = True, widths: Sequence[int] | None = None
) -> Layout:
    """Places for sequences of these lengths: few blocks of equal-width rows with little padding.

    lengths: (S,) tokens of each sequence, at least 1 each.
    pack: several sequences may share a row (attention must then look at `Layout.sequence`);
        otherwise one sequence a row, sorted by length into at most ten blocks.
    widths: the row widths allowed when packing; by default chosen to make the estimated cost of
        the batch (padding, attention width, number of blocks) smallest.
    Raises ValueError for an empty sequence, or one longer than the widest row allowed.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if lengths.ndim != 1:
        raise ValueError(f"lengths must have one axis, but has {lengths.ndim}")
    if len(lengths) == 0:
        return _layout(lengths, _Places(np.zeros(0, np.int64), (), packed=False))
    if lengths.min() < 1:
        empty = int(np.flatnonzero(lengths < 1)[0])
        raise ValueError(f"sequence {empty} is empty: it has no place in a row")
    if not pack:
        if widths is not None:
            raise ValueError("widths are for packed rows; leave them out when pack is False")
        return _layout(lengths, _filled_up(_one_a_row(lengths)))
    if widths is not None:
        chosen = tuple(sorted({int(width) for width in widths}))
        if not chosen or chosen[-1] < lengths.max():
            raise ValueError(
                f"the longest sequence has {lengths.max()} tokens, but the widest row allowed "
                f"has {chosen[-1] if chosen else 0}"
            )
        return _layout(lengths, _best_fit(lengths, chosen))
    return _layout(lengths, _filled_up(_cheapest_packing(lengths)))


def lay_out(
    sequences: Sequences, *, prefix: int | None, suffix: int | None, pad: int, pack: bool = True
) -> tuple[Tensor, Layout]:
    """The stream of token ids, with `prefix` and `suffix` put around every sequence.

    Returns tokens (T,) int64, and the layout whose lengths count prefix and suffix.
    """
    before, after = int(prefix is not None), int(suffix is not None)
    layout = arrange(sequences.lengths + before + after, pack=pack)
    tokens = place(sequences.tokens, sequences.lengths, layout, fill=pad, offset=before)
    if prefix is not None:
        tokens[layout.first] = prefix
    if suffix is not None:
        tokens[layout.first + layout.lengths - 1] = suffix
    return tokens, layout


def place(
    values: np.ndarray, lengths: np.ndarray, layout: Layout, *, fill: int, offset: int = 0
) -> Tensor:
    """Ragged per-token values (labels, segments, ids) at their slots of the stream.

    values: (sum of lengths,); lengths: (S,) how many each sequence has.
    offset: position within the sequence of its first value (1 after a prefix token).
    Returns (T,) int64, `fill` wherever no value lies.
    """
    slots = ragged_index(layout.first.numpy() + offset, np.asarray(lengths, dtype=np.int64))
    stream = np.full(len(layout.positions), fill, dtype=np.int64)
    stream[slots] = values
    return torch.from_numpy(stream)


def _layout(lengths: np.ndarray, places: _Places) -> Layout:
    size = sum(count * width for count, width in places.rows)
    slots = ragged_index(places.first, lengths)
    positions = np.zeros(size, dtype=np.int64)
    positions[slots] = slots - np.repeat(places.first, lengths)
    sequence = np.full(size, -1, dtype=np.int64)
    sequence[slots] = np.repeat(np.arange(len(lengths)), lengths)
    return Layout(
        torch.from_numpy(lengths.copy()),
        torch.from_numpy(positions),
        torch.from_numpy(sequence),
        torch.from_numpy(places.first),
        places.rows,
        places.packed,
    )


def _filled_up(places: _Places) -> _Places:
    """With rows of one padding token at the end, so that streams have few different lengths."""
    size = sum(count * width for count, width in places.rows)
    extra = even_size(size) - size if size >= LEAST_FILLED else 0
    return replace(places, rows=(*places.rows, (extra, 1))) if extra else places


def _cost(rows: Sequence[tuple[int, int]]) -> float:
    return sum(
        CALL_COST + count * width * (1 + width / WIDTH_OF_EQUAL_COST) for count, width in rows
    )


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _cheapest_packing(lengths: np.ndarray) -> _Places:
    """Try the width sets in the order of their lower bound; stop when none can be cheaper."""
    bounds = sorted((_lower_bound(lengths, widths), widths) for widths in _width_sets(lengths))
    best: _Places | None = None
    cheapest = np.inf
    for bound, widths in bounds:
        if bound >= cheapest:
            break
        places = _best_fit(lengths, widths)
        cost = _cost(places.rows)
        if cost < cheapest:
            best, cheapest = places, cost
    assert best is not None, "at least one set of widths is always tried"
    return best


def _width_sets(lengths: np.ndarray) -> list[tuple[int, ...]]:
    """Sets of one to four row widths, the widest of each holding the longest sequence."""
    longest, total = int(lengths.max()), int(lengths.sum())
    top = _round_up(longest, 8)
    several = [_round_up(times * longest, 8) for times in range(2, 7)]  # fits equal lengths
    wider = [w for w in (*PACKED_WIDTHS, *several) if top < w <= min(512, total)]
    narrower = [width for width in (64, *PACKED_WIDTHS, 1024) if width <= 0.8 * top]
    sets: list[tuple[int, ...]] = [(top,)]
    sets += [(width,) for width in wider]
    sets += [(width, top) for width in narrower]
    if top > 320:
        sets.append((128, 256, top))
    if top > 640:
        sets.append((128, 512, top))
    own, counts = np.unique(-(-lengths // 8) * 8, return_counts=True)
    for most in (2, MOST_BLOCKS):  # lengths that share rows badly: rows of their own widths
        ends = _cheapest_groups(own, counts, most)
        sets.append(tuple(int(own[end - 1]) for end in ends))
    return list(dict.fromkeys(sets))


def _lower_bound(lengths: np.ndarray, widths: tuple[int, ...]) -> float:
    """What the set costs at least: no padding, and each sequence in the narrowest row it fits."""
    allowed = np.asarray(widths)
    own = allowed[np.searchsorted(allowed, lengths)]
    blocks = len(np.unique(own))
    return CALL_COST * blocks + float((lengths * (1 + own / WIDTH_OF_EQUAL_COST)).sum())


def _best_fit(lengths: np.ndarray, widths: tuple[int, ...]) -> _Places:
    """Best-fit decreasing: each sequence goes to the fullest row with room, else opens a row.

    Rows with room r wait on the stack `waiting[r]`; `room` has bit r set where it is not empty, so
    the tightest row is one shift and one lowest bit away.
    """
    order = np.argsort(-lengths, kind="stable")
    classes = np.searchsorted(np.asarray(widths), lengths)[order].tolist()
    waiting: list[list[int]] = [[] for _ in range(widths[-1] + 1)]
    room = 0
    row_of: list[int] = []
    offset: list[int] = []
    row_class: list[int] = []
    filled: list[int] = []
    for length, own in zip(lengths[order].tolist(), classes, strict=True):
        fitting = room >> length
        if fitting:
            left = length + (fitting & -fitting).bit_length() - 1
            row = waiting[left].pop()
            if not waiting[left]:
                room ^= 1 << left
        else:
            row, left = len(filled), widths[own]
            filled.append(0)
            row_class.append(own)
        row_of.append(row)
        offset.append(filled[row])
        filled[row] += length
        left -= length
        if left:
            waiting[left].append(row)
            room |= 1 << left
    return _stack_rows(order, np.asarray(row_of), np.asarray(offset), np.asarray(row_class), widths)


def _stack_rows(
    order: np.ndarray,
    row_of: np.ndarray,
    offset: np.ndarray,
    row_class: np.ndarray,
    widths: tuple[int, ...],
) -> _Places:
    """Lay the rows of each width one after another, widest block first, and number the slots."""
    counts = np.bincount(row_class, minlength=len(widths))
    start = np.zeros(len(row_class), dtype=np.int64)
    rows = []
    at = 0
    for number in range(len(widths) - 1, -1, -1):
        mine = np.flatnonzero(row_class == number)
        if len(mine):
            start[mine] = at + widths[number] * np.arange(len(mine))
            rows.append((int(counts[number]), widths[number]))
            at += int(counts[number]) * widths[number]
    first = np.empty(len(order), dtype=np.int64)
    first[order] = start[row_of] + offset
    return _Places(first, tuple(rows), packed=len(row_class) < len(order))


def _one_a_row(lengths: np.ndarray) -> _Places:
    """Sorted by length and cut into the groups of least cost (dynamic programming)."""
    if len(lengths) == 1:
        width = _round_up(int(lengths[0]), FINEST)
        return _Places(np.zeros(1, np.int64), ((1, width),), packed=False)
    order = np.argsort(-lengths, kind="stable")
    padded = -(-lengths // FINEST) * FINEST
    widths, counts = np.unique(padded, return_counts=True)
    ends = _cheapest_groups(widths, counts, MOST_GROUPS)
    first = np.empty(len(lengths), dtype=np.int64)
    rows = []
    slot, done = 0, 0
    for begin, end in reversed(list(zip([0, *ends[:-1]], ends, strict=True))):
        width, count = int(widths[end - 1]), int(counts[begin:end].sum())
        first[order[done : done + count]] = slot + width * np.arange(count)
        rows.append((count, width))
        slot += width * count
        done += count
    return _Places(first, tuple(rows), packed=False)


def _cheapest_groups(widths: np.ndarray, counts: np.ndarray, most: int) -> list[int]:
    """Ends of the contiguous groups of (ascending) widths that together cost least."""
    number = len(widths)
    before = np.concatenate([[0], np.cumsum(counts)])
    rows = before[None, 1:] - before[:-1, None]  # rows of a group begin..end (inclusive)
    price = CALL_COST + rows * (widths * (1 + widths / WIDTH_OF_EQUAL_COST))[None]
    price = np.where(np.tri(number, k=-1, dtype=bool), np.inf, price)
    best = np.full((most + 1, number + 1), np.inf)
    came = np.zeros((most + 1, number + 1), dtype=np.int64)
    best[0, 0] = 0
    for groups in range(1, most + 1):
        total = best[groups - 1, :number, None] + price  # begin, end
        came[groups, 1:] = total.argmin(0)
        best[groups, 1:] = total.min(0)
    groups = int(best[:, number].argmin())
    ends: list[int] = []
    end = number
    while groups:
        ends.append(end)
        end = int(came[groups, end])
        groups -= 1
    return ends[::-1]

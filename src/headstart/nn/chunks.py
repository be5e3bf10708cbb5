"""Attention in chunks: sequences cut into pieces of one length that see their neighbours.

In: vectors of the flat stream, and where its sequences lie. Out: what each chunk mixes. Every
sequence begins a chunk of its own, wherever it stands in a row, so packed and padded rows give the
same, and a sequence's result never depends on what else is in the batch. The surprise: neighbours
go around the ends of a sequence, so that the first chunk sees the last one, as in the paper's code.

Legend: T stream, S sequences, C chunks, L places of a chunk, H heads, D head width, R hashing
rounds, N = R * C, B chunks seen by one, G = H or 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.batch import Layout
from headstart.nn.dropout import drop
from headstart.nn.long_range import ChunkedAttention, LongRange

UNSEEN = -1e9  # score of a key that may not be seen
ITSELF = -1e5  # of the query's own token where queries are keys: seen only if nothing else is


@dataclass(frozen=True)
class Grid:
    """The places of all chunks, C * L in number, and which of them hold which token.

    slots: (C * L,) index in the stream of each place's token; 0 where there is none.
    positions: (C * L,) place within the sequence, free ones included.
    filled: (C * L,) whether a token is there.
    sequence: (C * L,) whose place it is.
    place: (T,) the place of each slot of the stream; 0 for padding.
    first, count: (C,) first chunk of a chunk's sequence, and how many chunks that has.
    length: L.
    """

    slots: Tensor
    positions: Tensor
    filled: Tensor
    sequence: Tensor
    place: Tensor
    first: Tensor
    count: Tensor
    length: int


@dataclass(frozen=True)
class Neighbours:
    """Which chunks each chunk sees: (N, B) numbers, and whether it may."""

    chunks: Tensor
    seen: Tensor


@dataclass(frozen=True)
class Chunked:
    """What the layers of one kind need to know of a batch."""

    grid: Grid
    near: Neighbours
    causal: bool


def cut(layout: Layout, config: LongRange, kind: ChunkedAttention, *, causal: bool) -> Chunked:
    """The chunks of the layers of one kind, and what each of them sees."""
    chunking = config.chunking(kind)
    grid = make_grid(layout, config.padded(layout.lengths), length=chunking.length)
    rounds = config.num_hashes if kind == "lsh" else 1
    near = neighbours(grid, rounds=rounds, before=chunking.before, after=chunking.after)
    return Chunked(grid, near, causal)


def make_grid(layout: Layout, padded: Tensor, *, length: int) -> Grid:
    """Chunks of `length` places for sequences that are filled up to `padded` (S,) tokens."""
    chunks = -(-padded // length)
    begin = chunks.cumsum(0) - chunks
    owner = torch.repeat_interleave(chunks)  # C
    sequence = owner.repeat_interleave(length)
    places = torch.arange(len(sequence), device=sequence.device)
    positions = places - begin[sequence] * length
    filled = positions < layout.lengths[sequence]
    slots = (layout.first[sequence] + positions).masked_fill(~filled, 0)
    whose = layout.sequence.clamp(min=0)
    place = (begin[whose] * length + layout.positions).masked_fill(layout.sequence < 0, 0)
    return Grid(slots, positions, filled, sequence, place, begin[owner], chunks[owner], length)


def neighbours(grid: Grid, *, rounds: int, before: int, after: int) -> Neighbours:
    """The chunks around each one, in its sequence's chunks of all rounds laid end to end.

    A sequence of a single chunk sees just that one.
    """
    device, total = grid.first.device, len(grid.first)
    own = torch.arange(total, device=device) - grid.first
    turn = torch.arange(rounds, device=device)[:, None]
    steps = torch.arange(-before, after + 1, device=device)
    count = grid.count[:, None]
    line = ((turn * grid.count + own)[..., None] + steps) % (rounds * count)  # R C B
    chunks = line // count * total + grid.first[:, None] + line % count
    seen = ((count > 1) | (steps == 0)).expand(rounds, total, len(steps))
    return Neighbours(chunks.flatten(0, 1), seen.flatten(0, 1))


def attend_chunks(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    positions: Tensor,
    filled: Tensor,
    near: Neighbours,
    causal: bool,
    shared: bool,
    dropout: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """What each place takes from the chunks that its own one sees.

    queries, keys, values: (H, N, L, D), keys scaled. positions, filled: (G, N, L) of the places.
    shared: queries are keys, so a token sees itself only if it sees nothing else (section 2 of the
    paper). dropout: on the weights.
    Returns the mixture (H, N, L, D), and the logarithm of the sum of weights (H, N, L) before they
    were made to add up to 1.
    """
    there = _around(filled, near) & near.seen.repeat_interleave(filled.shape[-1], 1)  # G N B*L
    where, here = _around(positions, near)[:, :, None], positions[..., None]
    seen = there[:, :, None]
    if causal:
        seen = seen & (where <= here)
    scores = queries @ _around(keys, near).transpose(-1, -2)  # H N L B*L
    scores = scores.masked_fill(~seen, UNSEEN)
    if shared:
        scores = scores.masked_fill((where == here) & seen, ITSELF)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    total = scores.logsumexp(-1)
    weights = (scores - total[..., None]).exp().to(values.dtype)
    weights = drop(weights, dropout, training=True)
    return weights @ _around(values, near), total


def _around(x: Tensor, near: Neighbours) -> Tensor:
    """(X, N, L, ...) to (X, N, B * L, ...): each chunk's neighbours side by side."""
    found = x.index_select(1, near.chunks.flatten())
    return found.view(x.shape[0], len(near.chunks), -1, *x.shape[3:])

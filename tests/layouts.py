"""Ragged texts and their layouts, packed and padded, for tests of tensors."""

import numpy as np
import torch
from torch import Tensor

from headstart.batch import Batch, Layout, Sequences, ragged_index

LENGTHS = (7, 3, 12, 1, 5)
VOCAB = 60


def ragged(lengths=LENGTHS, *, vocab: int = VOCAB, seed: int = 0) -> Sequences:
    """Random ids from 5 on, so that no id is a special one."""
    rng = np.random.default_rng(seed)
    count = np.asarray(lengths)
    return Sequences(rng.integers(5, vocab, count.sum()), count, np.arange(len(count)))


def lay(sequences: Sequences, *, rows: list[list[int]], pad: int = 0) -> Batch:
    """Sequences in rows as told; every row is as wide as the widest."""
    width = max(int(sequences.lengths[row].sum()) for row in rows)
    size = width * len(rows)
    tokens, positions = np.full(size, pad), np.zeros(size, dtype=np.int64)
    owner, first = np.full(size, -1), np.zeros(len(sequences), dtype=np.int64)
    for number, row in enumerate(rows):
        at = number * width
        for which in row:
            length = int(sequences.lengths[which])
            start = int(sequences.starts[which])
            tokens[at : at + length] = sequences.tokens[start : start + length]
            positions[at : at + length] = np.arange(length)
            owner[at : at + length] = which
            first[which] = at
            at += length
    parts = (torch.from_numpy(np.asarray(a)) for a in (sequences.lengths, positions, owner, first))
    packed = any(len(row) > 1 for row in rows)
    layout = Layout(*parts, rows=((len(rows), width),), packed=packed)
    return Batch({"tokens": torch.from_numpy(tokens)}, {"tokens": layout}, {})


def padded(sequences: Sequences, *, pad: int = 0) -> Batch:
    """One sequence a row."""
    return lay(sequences, rows=[[n] for n in range(len(sequences))], pad=pad)


def packed(sequences: Sequences, *, pad: int = 0) -> Batch:
    """Two rows: the even sequences in one, the odd ones in the other."""
    numbers = list(range(len(sequences)))
    return lay(sequences, rows=[numbers[::2], numbers[1::2]], pad=pad)


def in_order(states: Tensor, batch: Batch, *, stream: str = "tokens") -> Tensor:
    """Rows of a stream in the order of the sequences' tokens, padding left out."""
    layout = batch.layout[stream]
    return states[ragged_index(layout.first.numpy(), layout.lengths.numpy())]


def two_streams(sources: Batch, targets: Batch) -> Batch:
    """What an encoder-decoder takes: one batch's tokens to encode, the other's to decode."""
    return Batch(
        {**sources.inputs, "decoder_tokens": targets.inputs["tokens"]},
        {**sources.layout, "decoder_tokens": targets.layout["tokens"]},
        {},
    )


def alone(sequences: Sequences) -> list[Batch]:
    """Each sequence in a batch of its own."""
    return [padded(sequences.take(np.array([n]))) for n in range(len(sequences))]

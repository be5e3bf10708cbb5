"""What makes a Transformer a Reformer, as values: chunks, hashing, axial positions.

`chunks.py`, `lsh.py`, `reversible.py` and `position.py` compute with them.

Source: Kitaev, Kaiser and Levskaya 2020, "Reformer: The Efficient Transformer", arXiv:2001.04451.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from headstart.errors import InputError

ChunkedAttention = Literal["local", "lsh"]


@dataclass(frozen=True, kw_only=True)
class Chunking:
    """Attention in chunks of `length` tokens, each of which sees itself and its neighbours.

    before, after: how many chunks are seen on each side, around the sequence's ends.
    dropout: on attention weights.
    """

    length: int = 64
    before: int = 1
    after: int = 0
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Axial:
    """A position's vector is that of its row beside that of its column in a table of `shape`.

    widths: how wide the two vectors are; together the hidden size. Source: section 2 there, and
    Ho et al. 2019, arXiv:1912.12180.
    """

    shape: tuple[int, int]
    widths: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class LongRange:
    """Layers that look at chunks of a sequence, on a residual stream that can be run backwards.

    attn_layers: what each layer's chunks are of: neighbours in the text ("local") or tokens whose
        vectors point the same way ("lsh", sections 2 and 3 there).
    local, lsh: the chunks of each kind.
    num_buckets: of one hashing round, even; two factors hash to their product.
    num_hashes: hashing rounds. hash_seed: draws the same rotations always; None: fresh ones at
        every training step, and those of seed 0 in use, so that an answer can be repeated.
    axial: axial positions; None: a learned table.
    mlp_chunk: tokens that go through a layer's MLP at a time; 0: all.
    """

    attn_layers: tuple[ChunkedAttention, ...]
    local: Chunking
    lsh: Chunking
    num_buckets: tuple[int, ...]
    num_hashes: int = 1
    hash_seed: int | None = None
    axial: Axial | None = None
    mlp_chunk: int = 0

    def chunking(self, kind: ChunkedAttention) -> Chunking:
        """The chunks of one kind of layer."""
        return self.lsh if kind == "lsh" else self.local

    @property
    def kinds(self) -> tuple[ChunkedAttention, ...]:
        """The kinds of attention that occur."""
        return tuple(sorted(set(self.attn_layers)))

    def padded(self, lengths: Tensor) -> Tensor:
        """(S,) tokens that sequences of these lengths are filled up to.

        A sequence that fits in the shortest chunk stays as it is; a longer one fills whole chunks
        of every kind.
        """
        whole = chunk_multiple([self.chunking(kind) for kind in self.kinds])
        short = min(self.chunking(kind).length for kind in self.kinds)
        filled = -(-lengths // whole) * whole
        return lengths.where(lengths <= short, filled)

    def check(self, *, num_layers: int, hidden_size: int, max_positions: int, causal: bool) -> None:
        """Raise InputError if these do not go together with the rest of a model."""
        if len(self.attn_layers) != num_layers:
            raise InputError(
                f"attn_layers names {len(self.attn_layers)} layers, but num_layers is {num_layers}"
            )
        odd = [n for n in self.num_buckets if n < 2 or n % 2]
        if odd or not 1 <= len(self.num_buckets) <= 2:
            raise InputError(
                f"num_buckets is {list(self.num_buckets)}, but must be one or two even numbers: "
                "a vector and its opposite fall into different buckets"
            )
        if causal and any(self.chunking(kind).after for kind in self.kinds):
            raise InputError("causal attention sees no chunk after its own: set after to 0")
        if self.axial is None:
            return
        rows, columns = self.axial.shape
        if sum(self.axial.widths) != hidden_size or rows * columns < max_positions:
            raise InputError(
                f"axial positions of {rows} x {columns} and widths "
                f"{' + '.join(map(str, self.axial.widths))} do not go with {max_positions} "
                f"positions and hidden_size {hidden_size}: their product must reach the first, "
                "their sum be the second"
            )


def chunk_multiple(chunks: Sequence[Chunking]) -> int:
    """The least number of tokens that is whole chunks of every kind."""
    return math.lcm(*(chunking.length for chunking in chunks))


def default_buckets(max_positions: int, chunking: Chunking) -> tuple[int, ...]:
    """Two buckets a chunk of the longest sequence, as a power of two.

    Two factors where there are many: hashing costs their sum. Source: section 4 there.
    """
    power = max(1, (2 * (max_positions // chunking.length)).bit_length() - 1)
    most = 2 * max(math.isqrt(max_positions // chunking.length), chunking.length)
    if 2**power <= most:
        return (2**power,)
    return (2 ** (power // 2), 2 ** (power - power // 2))

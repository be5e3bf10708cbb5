"""Attention from one stream to another, the memory: a decoder that looks at what was encoded.

Legend: T stream, M memory's stream, R rows, H heads, K heads of keys and values, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart.batch import Layout
from headstart.nn.cache import Past
from headstart.nn.config import TransformerConfig
from headstart.nn.kernels import by_sequence
from headstart.nn.mask import Crossings
from headstart.nn.rows import chosen


@dataclass(frozen=True)
class Memory:
    """States (M, hidden) and where they lie; sequence s of the decoder sees sequence s of them."""

    states: Tensor
    layout: Layout


@dataclass(frozen=True)
class Seen:
    """What the layers of one call see of a memory.

    states: None where a cache holds its keys and values.
    """

    states: Tensor | None
    crossings: Crossings


class CrossAttention(nn.Module):
    """Queries from the stream; keys and values from the memory, in one fused projection.

    Source: Vaswani et al. 2017, section 3.2.3.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.num_heads, self.kv_heads = config.num_heads, config.kv_heads
        self.dropout = config.attention_dropout
        self.scale = None if config.scaled_attention else 1.0
        width, shared = config.num_heads * config.head_dim, config.kv_heads * config.head_dim
        self.q: nn.Module = nn.Linear(config.hidden_size, width, bias=config.bias)
        self.kv: nn.Module = nn.Linear(config.hidden_size, 2 * shared, bias=config.bias)
        self.out = nn.Linear(width, config.hidden_size, bias=config.bias)

    def forward(
        self, x: Tensor, seen: Seen, past: Past | None = None, at: Tensor | None = None
    ) -> Tensor:
        """x: (T, hidden); past: keeps the memory's keys and values. Returns (T, hidden).

        at: the slots (N,) that are asked for; then (N, hidden) is returned.
        """
        out: Tensor = self.out(chosen(self.mix(x, seen, past), at))
        return out

    def mix(self, x: Tensor, seen: Seen, past: Past | None = None) -> Tensor:
        """What comes before the last projection: (T, hidden) to (T, H * D)."""
        q = self.q(x).view(len(x), self.num_heads, -1)
        sources = self._sources(seen, past)
        dropout = self.dropout if self.training else 0.0
        return by_sequence(q, sources, seen.crossings, scale=self.scale, dropout=dropout)

    def _sources(self, seen: Seen, past: Past | None) -> list[tuple[Tensor, Tensor]]:
        """Keys and values (R, K, M, D) of each group of sequences."""
        known = None if past is None else past.memory()
        if known is not None:
            return [known]
        assert seen.states is not None, "cross-attention needs a memory"
        groups, shapes = seen.crossings.groups, []
        for group in groups:
            assert group.keys is not None, "the memory is a stream"
            shapes.append(group.keys.shape)
        places = torch.cat([group.keys.flatten() for group in groups if group.keys is not None])
        every = self.kv(seen.states).index_select(0, places)  # at once: so is its gradient
        found = []
        for shape, rows in zip(
            shapes, torch.split(every, [s.numel() for s in shapes]), strict=True
        ):
            k, v = rows.view(*shape, 2, self.kv_heads, -1).transpose(1, 3).unbind(2)
            found.append((k, v))
        if past is not None:
            past.remember(*found[0], groups[0].bias)
            kept = past.memory()
            assert kept is not None, "it was kept just now"
            return [kept]
        return found

"""Token ids to vectors: token, position and segment tables, added and perhaps normalised."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from headstart.batch import Layout
from headstart.nn.config import TransformerConfig
from headstart.nn.dropout import drop
from headstart.nn.norm import Norm
from headstart.nn.position import AxialPositions, sinusoids


class Embedding(nn.Module):
    """The sum of a token's embeddings.

    Source: Devlin et al. 2019, figure 2 (token + segment + position).
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        width = config.hidden_size
        self.tokens = _table(config.vocab_size, width)
        self.offset = config.position_offset
        self.positions = _positions(config) if config.position == "learned" else None
        self.fixed: Tensor | None
        table = sinusoids(config.max_positions, width) if config.position == "sinusoidal" else None
        self.register_buffer("fixed", table, persistent=False)
        self.segments = _table(config.segments, width) if config.segments else None
        self.norm = Norm(config) if config.embedding_norm else None
        self.factor = math.sqrt(width) if config.scaled_embedding else None
        self.dropout = config.dropout

    def forward(self, tokens: Tensor, layout: Layout, segments: Tensor | None = None) -> Tensor:
        """tokens, segments: (T,) ids; without segments all are segment 0. Returns (T, hidden)."""
        x = self.tokens(tokens)
        if self.factor is not None:
            x = x * self.factor
        if self.positions is not None:
            x = x + self.positions(layout.positions + self.offset)
        if self.fixed is not None:
            x = x + self.fixed[layout.positions].to(x.dtype)
        if self.segments is not None:
            x = x + (self.segments.weight[0] if segments is None else self.segments(segments))
        if self.norm is not None:
            x = self.norm(x)
        return drop(torch.as_tensor(x), self.dropout, self.training)


def _positions(config: TransformerConfig) -> nn.Module:
    """Learned vectors of positions."""
    if config.long_range is not None and config.long_range.axial is not None:
        return AxialPositions(config.long_range.axial)
    return _table(config.max_positions + config.position_offset, config.hidden_size)


def _table(rows: int, width: int) -> nn.Embedding:
    """A table still to be filled by `initialise` or from a file.

    Drawing its noise here would be thrown away, and under the meta device imports torch's compiler.
    """
    return nn.Embedding(rows, width, _weight=torch.empty(rows, width))

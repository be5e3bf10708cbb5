"""One vector for a sequence of hidden states."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from headstart.batch import Layout
from headstart.families.style import HeadStyle, Pooling
from headstart.nn import Norm, TransformerConfig
from headstart.nn.mlp import ACTIVATIONS

# computes the states (N, hidden) at some slots (N,), or all of them (T, hidden)
States = Callable[[Tensor | None], Tensor]

FLOOR = 0.01  # of the widest direction's variance: others are not made wider than that allows


class Pooler(nn.Module):
    """One vector a sequence: first token, last token or mean, then perhaps a dense layer."""

    def __init__(self, config: TransformerConfig, style: HeadStyle):
        super().__init__()
        self.pooling = style.pooling
        kind = style.pool_activation
        self.activation = torch.tanh if kind is None or kind == "tanh" else ACTIVATIONS[kind]
        dense = kind is not None
        self.width = config.hidden_size if dense else config.output_size
        bias = style.pool_bias
        self.dense = nn.Linear(config.output_size, self.width, bias=bias) if dense else None
        self.norm = Norm(config, width=self.width) if style.pool_norm else None

    def forward(self, hidden: Tensor, layout: Layout) -> Tensor:
        """hidden: (T, hidden). Returns (S, width)."""
        return self.finish(pool(hidden, layout, self.pooling))

    def read(self, states: States, layout: Layout) -> Tensor:
        """The same of states that are computed where they are read alone."""
        return self.finish(pooled(states, layout, self.pooling))

    def finish(self, x: Tensor) -> Tensor:
        """What follows pooling: (S, hidden) to (S, width)."""
        if self.dense is not None:
            x = self.activation(self.dense(x))
        return x if self.norm is None else self.norm(x)

    @torch.no_grad()
    def spread(self, vectors: Tensor) -> None:
        """Let the dense layer begin as the map that centres such vectors and makes them as wide in
        every direction: those of a pretrained model are much alike.

        vectors: (S, hidden) of some sequences. Source: Salimans & Kingma 2016, section 3 (a start
        from the first batch), with whitening for scaling.
        """
        assert self.dense is not None, "a dense layer"
        wide = vectors.double()
        middle = wide.mean(0)
        spread = (wide - middle).t() @ (wide - middle) / len(wide)
        values, directions = torch.linalg.eigh(spread)
        floor = FLOOR * values[-1].clamp_min(1e-12)
        weight = (directions * (values.clamp_min(0) + floor).rsqrt()) @ directions.t()
        self.dense.weight.copy_(weight)
        if self.dense.bias is not None:
            self.dense.bias.copy_(-weight @ middle)


def pooled(states: States, layout: Layout, pooling: Pooling) -> Tensor:
    """One vector a sequence, (S, hidden), of states that are computed where they are read."""
    at = _read(layout, pooling)
    return pool(states(None), layout, pooling) if at is None else states(at)


def _read(layout: Layout, pooling: Pooling) -> Tensor | None:
    """The slot (S,) at which each sequence is read; None for all of its tokens."""
    if pooling == "first":
        return layout.first
    return layout.first + layout.lengths - 1 if pooling == "last" else None


def pool(hidden: Tensor, layout: Layout, pooling: Pooling) -> Tensor:
    """One vector a sequence, (S, hidden), from a stream (T, hidden); padding never counts."""
    at = _read(layout, pooling)
    if at is not None:
        return hidden.index_select(0, at)
    count = len(layout.lengths)
    # padding goes to one extra row, which is cut off
    owner = torch.where(layout.sequence < 0, count, layout.sequence)
    wide = torch.promote_types(hidden.dtype, torch.float32)
    total = hidden.new_zeros(count + 1, hidden.shape[1], dtype=wide)
    total = total.index_add(0, owner, hidden.to(wide))[:count]
    return (total / layout.lengths[:, None]).to(hidden.dtype)
